"""A retry by hand is told from one after an error. A letter knows how long its composing took."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only."""
    op.execute("ALTER TABLE ledger.jobs ADD COLUMN retried jsonb")
    op.execute("""
        ALTER TABLE mail.letters
          ADD COLUMN composing_s double precision NOT NULL DEFAULT 0,
          ADD COLUMN composing_since timestamptz
    """)
