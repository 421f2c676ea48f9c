"""The slots of a queue are shared among its tenants while there are too few, and running jobs may give way."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only."""
    op.execute("ALTER TABLE ledger.jobs ADD COLUMN preempted integer[]")
    op.execute("ALTER TABLE ledger.queues ADD COLUMN shared_until timestamptz")
