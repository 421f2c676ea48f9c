"""The keys of a tenant are counted when one is made, and listed in pages."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only."""
    op.execute("CREATE INDEX keys_living ON identity.keys (tenant, expires_at) WHERE revoked_at IS NULL")
    op.execute("CREATE INDEX keys_listed ON identity.keys (tenant, created_at, id)")
