"""Letters, their recipients, and who gets none."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

MAIL = """
CREATE SCHEMA mail;

CREATE TABLE mail.letters (
  id uuid NOT NULL PRIMARY KEY,
  tenant text NOT NULL,
  content jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz
);
CREATE INDEX letters_by_age ON mail.letters (created_at);

CREATE TABLE mail.recipients (
  letter uuid NOT NULL REFERENCES mail.letters (id) ON DELETE CASCADE,
  number integer NOT NULL,
  tenant text NOT NULL,
  address text NOT NULL,
  name text NOT NULL,
  domain text NOT NULL,
  variables jsonb,
  time_zone text,
  state text NOT NULL CONSTRAINT recipients_state CHECK (state IN
    ('queued', 'sending', 'sent', 'deferred', 'bounced', 'suppressed', 'unknown', 'cancelled')),
  attempt integer NOT NULL DEFAULT 0,
  tries integer NOT NULL DEFAULT 0,
  doubts integer NOT NULL DEFAULT 0,
  code integer,
  enhanced text,
  reply text,
  due_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  sent_at timestamptz,
  PRIMARY KEY (letter, number)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 10000);

CREATE TABLE mail.suppressions (
  tenant text NOT NULL,
  address text NOT NULL,
  number bigint GENERATED ALWAYS AS IDENTITY,
  reason text NOT NULL CONSTRAINT suppressions_reason
    CHECK (reason IN ('bounce', 'complaint', 'unsubscribe', 'manual')),
  letter uuid,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz,
  PRIMARY KEY (tenant, address)
);

CREATE TABLE mail.templates (
  tenant text NOT NULL,
  name text NOT NULL,
  version integer NOT NULL,
  subject text NOT NULL,
  text text,
  html text,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, name, version)
);

GRANT USAGE ON SCHEMA mail TO argosy_worker, argosy_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA mail TO argosy_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA mail TO argosy_tenant;
GRANT SELECT ON ledger.jobs TO argosy_worker;
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
TABLES = ("mail.letters", "mail.recipients", "mail.suppressions", "mail.templates")


def upgrade() -> None:
    """Forward only."""
    secured = "".join(SECURED.format(table=table) for table in TABLES)
    for statement in (MAIL + secured).split(";\n"):
        if statement.strip():
            op.execute(statement)
    for table in TABLES:
        op.execute(OWNER.format(table=table))
