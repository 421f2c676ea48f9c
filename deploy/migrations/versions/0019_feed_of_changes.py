"""Whose ids of transactions the changes of opportunities have, and which of them have been removed.

There is one row. `place` names the database; NULL until the first worker has looked at it.
"""

from alembic import op

from deploy.migrations import provisioning

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

FEED = """
CREATE TABLE sync.feed (
  only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
  place text,
  forgotten xid8
);
INSERT INTO sync.feed DEFAULT VALUES
"""


def upgrade() -> None:
    """Forward only."""
    for statement in FEED.split(";\n"):
        op.execute(statement)
    for statement in provisioning.table("sync.feed", "argosy_sync"):
        op.execute(statement)
