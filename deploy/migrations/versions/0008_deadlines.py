"""Deadlines, and who is reminded of them.

Variables are kept as they were written: jsonb makes 309 digits of 1e308.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

DEADLINES = """
CREATE TABLE mail.deadlines (
  tenant text NOT NULL,
  name text NOT NULL,
  due_at timestamptz NOT NULL,
  variables json NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, name)
);
CREATE INDEX deadlines_by_time ON mail.deadlines (tenant, due_at);
CREATE INDEX deadlines_by_age ON mail.deadlines (due_at);

CREATE TABLE mail.followers (
  tenant text NOT NULL,
  deadline text NOT NULL,
  address text NOT NULL,
  name text NOT NULL,
  variables json NOT NULL,
  time_zone text,
  reminded_of timestamptz,
  reminded_days integer,
  reminded_by uuid,
  reminded_number integer,
  FOREIGN KEY (tenant, deadline) REFERENCES mail.deadlines (tenant, name) ON DELETE CASCADE
);
CREATE UNIQUE INDEX followers_of_a_deadline ON mail.followers (tenant, deadline, lower(address));

ALTER TABLE mail.recipients ALTER COLUMN variables TYPE json USING variables::json;

GRANT SELECT, INSERT, UPDATE, DELETE ON mail.deadlines, mail.followers TO argosy_worker, argosy_tenant;
"""
SECURED = """
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_tenant ON {table} TO argosy_tenant
  USING (tenant = nullif(current_setting('argosy.tenant', true), ''))
  WITH CHECK (tenant = nullif(current_setting('argosy.tenant', true), ''));
CREATE POLICY of_the_fleet ON {table} TO argosy_gateway, argosy_worker USING (true) WITH CHECK (true);
"""
OWNER = """
DO $$ BEGIN
  EXECUTE format('CREATE POLICY of_the_owner ON {table} TO %I USING (true) WITH CHECK (true)', current_user);
END $$
"""
TABLES = ("mail.deadlines", "mail.followers")


def upgrade() -> None:
    """Forward only."""
    secured = "".join(SECURED.format(table=table) for table in TABLES)
    for statement in (DEADLINES + secured).split(";\n"):
        if statement.strip():
            op.execute(statement)
    for table in TABLES:
        op.execute(OWNER.format(table=table))
