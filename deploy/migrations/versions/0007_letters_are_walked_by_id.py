"""Letters are looked through by id: nobody asks for their age."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only."""
    op.execute("DROP INDEX mail.letters_by_age")
