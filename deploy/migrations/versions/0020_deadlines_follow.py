"""Deadlines that follow something that another service knows of, and is told of when it moves.

`follows` is a name that the other service has for it, `revision` how often that has changed. `retired_at` is set
when it is gone; until it is back, the deadline has no date.
"""

from alembic import op

from deploy.migrations import provisioning

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

FOLLOWS = """
ALTER TABLE mail.deadlines ALTER COLUMN due_at DROP NOT NULL, ADD COLUMN follows text,
  ADD COLUMN revision integer NOT NULL DEFAULT 0, ADD COLUMN retired_at timestamptz;
CREATE INDEX deadlines_that_follow ON mail.deadlines (tenant, follows) WHERE follows IS NOT NULL;
CREATE INDEX deadlines_retired ON mail.deadlines (retired_at) WHERE retired_at IS NOT NULL
"""


def upgrade() -> None:
    """Forward only."""
    for statement in FOLLOWS.split(";\n"):
        op.execute(statement)
    for statement in provisioning.may_enqueue("argosy_sync", "mailer", "moved"):
        op.execute(statement)
