"""Sources, the opportunities that they list, and how these change.

`changed_by` is the id of the transaction that wrote a row: what is older than every running transaction is
complete, so a reader who goes by it passes over nothing. Timestamps and sequences are not in the order of commits.
"""

from alembic import op

from deploy.migrations import provisioning

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

ROLES = ("argosy_sync", "argosy_sync_tenant")
SYNC = """
CREATE TABLE sync.sources (
  tenant text NOT NULL,
  id uuid NOT NULL,
  name text NOT NULL,
  spec jsonb NOT NULL,
  secrets bytea,
  header_names text[] NOT NULL DEFAULT '{}',
  run uuid,
  attempt integer NOT NULL DEFAULT 0,
  position jsonb,
  validators jsonb NOT NULL DEFAULT '{}',
  bookmark text,
  full_at timestamptz,
  not_before timestamptz,
  fetched_at timestamptz,
  succeeded_at timestamptz,
  failures integer NOT NULL DEFAULT 0,
  paused text,
  moved_to text,
  moves integer NOT NULL DEFAULT 0,
  quiet integer NOT NULL DEFAULT 0,
  remap boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, id),
  UNIQUE (tenant, name)
) WITH (fillfactor = 70);

CREATE TABLE sync.opportunities (
  tenant text NOT NULL,
  id uuid NOT NULL,
  source uuid NOT NULL,
  key text NOT NULL,
  title text NOT NULL,
  summary text NOT NULL,
  url text,
  agency text,
  opens_at timestamptz,
  closes_at timestamptz,
  closes_on date,
  status_said text,
  amount_min numeric,
  amount_max numeric,
  currency text,
  extra jsonb NOT NULL,
  raw jsonb NOT NULL,
  language regconfig NOT NULL,
  digest bytea NOT NULL,
  revision integer NOT NULL DEFAULT 1,
  changed_by xid8 NOT NULL DEFAULT pg_current_xact_id(),
  first_run uuid NOT NULL,
  last_run uuid NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  changed_at timestamptz NOT NULL DEFAULT now(),
  gone_at timestamptz,
  search tsvector GENERATED ALWAYS AS (
    setweight(to_tsvector(language, title), 'A') || setweight(to_tsvector(language, left(summary, 20000)), 'B')
  ) STORED,
  PRIMARY KEY (tenant, source, key),
  UNIQUE (tenant, id)
);
CREATE INDEX opportunities_by_closing ON sync.opportunities (tenant, coalesce(closes_at, 'infinity'), id);
CREATE INDEX opportunities_by_age ON sync.opportunities (tenant, created_at DESC, id DESC);
CREATE INDEX opportunities_by_change ON sync.opportunities (tenant, changed_by, id);
CREATE INDEX opportunities_by_words ON sync.opportunities USING gin (search);

CREATE TABLE sync.changes (
  tenant text NOT NULL,
  changed_by xid8 NOT NULL DEFAULT pg_current_xact_id(),
  number integer NOT NULL,
  opportunity uuid NOT NULL,
  run uuid NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),
  what text NOT NULL,
  fields jsonb NOT NULL,
  PRIMARY KEY (tenant, changed_by, number)
);
CREATE INDEX changes_of_one ON sync.changes (tenant, opportunity, changed_by, number);
CREATE INDEX changes_by_age ON sync.changes (at);

CREATE TABLE sync.seen (
  source uuid NOT NULL,
  run uuid NOT NULL,
  part integer NOT NULL,
  tenant text NOT NULL,
  keys bigint[] NOT NULL,
  PRIMARY KEY (source, run, part)
);

CREATE TABLE sync.rejected (
  tenant text NOT NULL,
  number bigint GENERATED ALWAYS AS IDENTITY,
  source uuid NOT NULL,
  run uuid NOT NULL,
  key text,
  reason text NOT NULL,
  field text,
  raw jsonb NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, source, number)
);
CREATE INDEX rejected_by_age ON sync.rejected (at);

CREATE TABLE sync.runs (
  tenant text NOT NULL,
  id uuid NOT NULL,
  source uuid NOT NULL,
  counters jsonb NOT NULL DEFAULT '{}',
  began_at timestamptz NOT NULL DEFAULT now(),
  ended_at timestamptz,
  how text,
  PRIMARY KEY (tenant, id)
);
CREATE INDEX runs_by_age ON sync.runs (began_at);

CREATE TABLE sync.hosts (
  host text NOT NULL PRIMARY KEY,
  next_at timestamptz NOT NULL,
  failures integer NOT NULL DEFAULT 0,
  robots text,
  robots_at timestamptz
)
"""
OF_TENANTS = ("sources", "opportunities", "changes", "seen", "rejected", "runs")


def upgrade() -> None:
    """Forward only."""
    for statement in provisioning.service("sync", *ROLES, queue="sync"):
        op.execute(statement)
    for role in ROLES:
        for statement in provisioning.members_too(role, ("argosy_ocr", "argosy_mailer", "argosy_analytics")):
            op.execute(statement)
    for statement in SYNC.split(";\n"):
        op.execute(statement)
    for statement in provisioning.may_read(("id", "tenant", "finished_at"), ROLES[1], queue="sync"):
        op.execute(statement)
    for table in OF_TENANTS:
        for statement in provisioning.table(f"sync.{table}", *ROLES):
            op.execute(statement)
    for statement in provisioning.table(
        "sync.hosts", ROLES[0]
    ):  # of no tenant: a host is spoken to by all of them
        op.execute(statement)
    for statement in provisioning.fleet_schedule("sync", "housekeeping", "45 2 * * *"):
        op.execute(statement)
