"""The ledger, identity, and the OCR service's documents."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

LEDGER = """
CREATE SCHEMA ledger;

CREATE TABLE ledger.jobs (
  id uuid NOT NULL PRIMARY KEY,
  tenant text NOT NULL,
  created_by text NOT NULL,
  queue text NOT NULL,
  kind text NOT NULL,
  state text NOT NULL CONSTRAINT jobs_state
    CHECK (state IN ('scheduled', 'queued', 'running', 'succeeded', 'failed', 'cancelled')),
  priority text NOT NULL,
  rank timestamptz NOT NULL,
  payload jsonb NOT NULL,
  tags jsonb NOT NULL,
  trace text,
  attempt integer NOT NULL DEFAULT 0,
  failures integer NOT NULL DEFAULT 0,
  crashes integer NOT NULL DEFAULT 0,
  max_attempts integer NOT NULL,
  timeout_s double precision NOT NULL,
  worker uuid,
  created_at timestamptz NOT NULL DEFAULT now(),
  due_at timestamptz NOT NULL,
  ticketed_at timestamptz,
  started_at timestamptz,
  finished_at timestamptz,
  progress jsonb,
  result jsonb,
  artifacts jsonb,
  error jsonb
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 10000);

CREATE INDEX jobs_waiting ON ledger.jobs (queue, rank) WHERE state = 'queued' AND ticketed_at IS NULL;
CREATE INDEX jobs_ticketed ON ledger.jobs (queue, ticketed_at)
  WHERE state = 'queued' AND ticketed_at IS NOT NULL;
CREATE INDEX jobs_scheduled ON ledger.jobs (due_at) WHERE state = 'scheduled';
CREATE INDEX jobs_running ON ledger.jobs (worker) WHERE state = 'running';
CREATE INDEX jobs_by_tenant ON ledger.jobs (tenant, id DESC);

CREATE TABLE ledger.workers (
  id uuid NOT NULL PRIMARY KEY,
  queue text NOT NULL,
  slots integer NOT NULL,
  host text NOT NULL,
  pid integer NOT NULL,
  started_at timestamptz NOT NULL DEFAULT now(),
  heartbeat_at timestamptz NOT NULL DEFAULT now()
);
"""

IDENTITY = """
CREATE SCHEMA identity;

CREATE TABLE identity.tenants (
  id text NOT NULL PRIMARY KEY,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE identity.keys (
  id text NOT NULL PRIMARY KEY,
  tenant text NOT NULL REFERENCES identity.tenants (id),
  name text NOT NULL,
  role text NOT NULL CONSTRAINT keys_role CHECK (role IN ('admin', 'member', 'read')),
  secret_sha256 bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz,
  revoked_at timestamptz
);
"""

OCR = """
CREATE SCHEMA ocr;

CREATE TABLE ocr.documents (
  job_id uuid NOT NULL PRIMARY KEY,
  tenant text NOT NULL,
  pages integer NOT NULL,
  pages_recognised integer NOT NULL,
  mean_confidence double precision,
  finished_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX documents_by_tenant ON ocr.documents (tenant, finished_at);
"""


def upgrade() -> None:
    for schema in (LEDGER, IDENTITY, OCR):
        for statement in schema.split(";\n"):
            if statement.strip():
                op.execute(statement)
