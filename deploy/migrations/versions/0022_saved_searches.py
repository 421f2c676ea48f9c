"""Saved searches, and to whom their letters go.

`told_by` and `told_number` are a place in the feed of changes: what was inserted behind it has not been told yet.
Recipients have rows of their own, by which the rows of a person are found.
"""

from alembic import op

from deploy.migrations import provisioning

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

ROLES = ("argosy_sync", "argosy_sync_tenant")
SEARCHES = """
CREATE TABLE sync.searches (
  tenant text NOT NULL,
  name text NOT NULL,
  id uuid NOT NULL,
  filter jsonb NOT NULL,
  letter jsonb NOT NULL,
  told_by xid8 NOT NULL,
  told_number integer NOT NULL,
  told_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, name),
  UNIQUE (tenant, id)
);
CREATE TABLE sync.search_recipients (
  tenant text NOT NULL,
  search text NOT NULL,
  address text NOT NULL,
  name text NOT NULL,
  variables json NOT NULL,
  time_zone text,
  FOREIGN KEY (tenant, search) REFERENCES sync.searches (tenant, name) ON DELETE CASCADE
);
CREATE UNIQUE INDEX recipients_of_a_search ON sync.search_recipients (tenant, search, lower(address))
"""


def upgrade() -> None:
    """Forward only."""
    for statement in SEARCHES.split(";\n"):
        op.execute(statement)
    for table in ("sync.searches", "sync.search_recipients"):
        for statement in provisioning.table(table, *ROLES):
            op.execute(statement)
    published = ("search", "address", "name", "time_zone")
    for statement in provisioning.publish("sync.search_recipients", published, "argosy_exporter_tenant"):
        op.execute(statement)
    for statement in provisioning.may_enqueue(ROLES[0], "mailer", "letter"):
        op.execute(statement)
