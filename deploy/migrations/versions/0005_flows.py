"""Flows: jobs with children, which wait for them. And what OCR has read before."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

FLOWS = """
ALTER TABLE ledger.jobs
  DROP CONSTRAINT jobs_state,
  ADD CONSTRAINT jobs_state
    CHECK (state IN ('scheduled', 'queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled')),
  ADD COLUMN parent uuid,
  ADD COLUMN children integer NOT NULL DEFAULT 0;
CREATE INDEX jobs_children ON ledger.jobs (parent, id) WHERE parent IS NOT NULL;
CREATE INDEX jobs_open_children ON ledger.jobs (parent) WHERE parent IS NOT NULL AND finished_at IS NULL;
CREATE INDEX jobs_flows ON ledger.jobs (queue, id) WHERE state = 'waiting';
DROP INDEX ledger.jobs_by_tenant;
CREATE INDEX jobs_by_tenant ON ledger.jobs (tenant, id DESC) WHERE parent IS NULL;
DROP INDEX ledger.jobs_failed;
CREATE INDEX jobs_failed ON ledger.jobs (tenant, id) WHERE state IN ('failed', 'cancelled') AND parent IS NULL;
DROP INDEX ledger.jobs_unique;
CREATE UNIQUE INDEX jobs_unique ON ledger.jobs (tenant, queue, unique_key)
  WHERE unique_key IS NOT NULL AND state IN ('scheduled', 'queued', 'running', 'waiting');
"""
READINGS = """
CREATE TABLE ocr.readings (
  tenant text NOT NULL,
  digest bytea NOT NULL,
  folder text NOT NULL,
  summary jsonb NOT NULL,
  read_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, digest)
);
CREATE INDEX readings_by_age ON ocr.readings (read_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON ocr.readings TO argosy_worker;
ALTER TABLE ocr.readings ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_tenant ON ocr.readings TO argosy_tenant
  USING (tenant = nullif(current_setting('argosy.tenant', true), ''))
  WITH CHECK (tenant = nullif(current_setting('argosy.tenant', true), ''));
CREATE POLICY of_the_fleet ON ocr.readings TO argosy_gateway, argosy_worker USING (true) WITH CHECK (true);
"""
OWNER = """
DO $$ BEGIN
  EXECUTE format('CREATE POLICY of_the_owner ON ocr.readings TO %I USING (true) WITH CHECK (true)', current_user);
END $$
"""


def upgrade() -> None:
    """Forward only."""
    for part in (FLOWS, READINGS):
        for statement in part.split(";\n"):
            if statement.strip():
                op.execute(statement)
    op.execute(OWNER)
