"""Fair order, schedules, replays, queue settings, uniqueness, cancelling, and the books."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

JOBS = """
ALTER TABLE ledger.jobs
  ADD COLUMN errors jsonb,
  ADD COLUMN idempotency_key text,
  ADD COLUMN request_sha256 bytea,
  ADD COLUMN unique_key text,
  ADD COLUMN cancel_requested_at timestamptz,
  ADD COLUMN schedule uuid,
  ADD COLUMN replay uuid,
  ADD COLUMN bytes bigint NOT NULL DEFAULT 0;
UPDATE ledger.jobs SET errors = jsonb_build_array(error) WHERE error IS NOT NULL;
ALTER TABLE ledger.jobs DROP COLUMN error;

DROP INDEX ledger.jobs_waiting;
CREATE INDEX jobs_waiting ON ledger.jobs (queue, tenant, rank) WHERE state = 'queued' AND ticketed_at IS NULL;
CREATE UNIQUE INDEX jobs_idempotent ON ledger.jobs (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX jobs_unique ON ledger.jobs (tenant, queue, unique_key)
  WHERE unique_key IS NOT NULL AND state IN ('scheduled', 'queued', 'running');
CREATE INDEX jobs_finished ON ledger.jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_failed ON ledger.jobs (tenant, id) WHERE state IN ('failed', 'cancelled');
CREATE INDEX jobs_recurring ON ledger.jobs (schedule) WHERE schedule IS NOT NULL;
CREATE INDEX jobs_replayed ON ledger.jobs (replay) WHERE replay IS NOT NULL;
"""

QUEUES = """
CREATE TABLE ledger.queues (
  name text NOT NULL PRIMARY KEY,
  paused_at timestamptz,
  max_running integer,
  max_running_per_tenant integer,
  worker_seen_at timestamptz
);

CREATE TABLE ledger.entries (
  queue text NOT NULL,
  what text NOT NULL CONSTRAINT entries_what CHECK (what IN ('accepted', 'ended', 'bytes')),
  amount bigint NOT NULL
);
CREATE TABLE ledger.trash (folder text NOT NULL, schedule uuid);
INSERT INTO ledger.entries
  SELECT queue, 'accepted', count(*) FROM ledger.jobs GROUP BY queue
  UNION ALL
  SELECT queue, 'ended', count(*) FROM ledger.jobs WHERE finished_at IS NOT NULL GROUP BY queue;
"""

SCHEDULES = """
CREATE TABLE ledger.schedules (
  id uuid NOT NULL PRIMARY KEY,
  tenant text NOT NULL,
  created_by text NOT NULL,
  name text NOT NULL,
  queue text NOT NULL,
  kind text NOT NULL,
  payload jsonb NOT NULL,
  fields jsonb NOT NULL,
  cron text NOT NULL,
  timezone text NOT NULL,
  catch_up text NOT NULL CONSTRAINT schedules_catch_up CHECK (catch_up IN ('skip', 'one', 'all')),
  created_at timestamptz NOT NULL DEFAULT now(),
  paused_at timestamptz,
  next_at timestamptz,
  last_at timestamptz,
  missed integer NOT NULL DEFAULT 0,
  CONSTRAINT schedules_name UNIQUE (tenant, name)
);
CREATE INDEX schedules_due ON ledger.schedules (next_at) WHERE paused_at IS NULL;

CREATE TABLE ledger.replays (
  id uuid NOT NULL PRIMARY KEY,
  tenant text NOT NULL,
  created_by text NOT NULL,
  filter jsonb NOT NULL,
  rate double precision,
  stop_after integer,
  state text NOT NULL DEFAULT 'releasing'
    CONSTRAINT replays_state CHECK (state IN ('releasing', 'finished', 'stopped', 'cancelled')),
  reason text,
  matched integer NOT NULL,
  released integer NOT NULL DEFAULT 0,
  position uuid,
  created_at timestamptz NOT NULL DEFAULT now(),
  ended_at timestamptz
);
CREATE INDEX replays_open ON ledger.replays (id) WHERE state = 'releasing';
"""


def upgrade() -> None:
    for part in (JOBS, QUEUES, SCHEDULES):
        for statement in part.split(";\n"):
            if statement.strip():
                op.execute(statement)
