"""An export may write files of several datasets: a row for each."""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only."""
    op.execute("ALTER TABLE export.files DROP CONSTRAINT files_pkey, ADD PRIMARY KEY (job, dataset)")
