"""Lists of a tenant's jobs do not walk through those of its events.

Each job is in one of the two indexes. The condition is that of libs/common/ledger/jobs.py: Filter.
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only."""
    op.execute("DROP INDEX ledger.jobs_by_tenant")
    op.execute(
        "CREATE INDEX jobs_by_tenant ON ledger.jobs (tenant, id DESC) "
        "WHERE parent IS NULL AND queue <> 'analytics'"
    )
    op.execute(
        "CREATE INDEX jobs_of_events ON ledger.jobs (tenant, id DESC) WHERE parent IS NULL AND queue = 'analytics'"
    )
