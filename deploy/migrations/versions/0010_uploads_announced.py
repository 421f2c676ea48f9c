"""What is uploaded before its job or schedule is there, so that it goes if they never come."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only."""
    op.execute("""
        CREATE TABLE ledger.uploads (
          owner uuid NOT NULL PRIMARY KEY,
          folder text NOT NULL,
          announced_at timestamptz NOT NULL DEFAULT now()
        )
    """)
    op.execute("CREATE INDEX uploads_by_age ON ledger.uploads (announced_at)")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ledger.uploads TO argosy_gateway")
