"""The tables of the ledger. Only libs.common.ledger writes to them."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

metadata = MetaData(schema="ledger")

Moment = DateTime(timezone=True)

jobs = Table(
    "jobs",
    metadata,
    Column("id", UUID, primary_key=True),  # UUIDv7: sorts by the time of acceptance
    Column("tenant", Text, nullable=False),
    Column("created_by", Text, nullable=False),  # the API key or user that submitted it
    Column("queue", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("priority", Text, nullable=False),
    Column("rank", Moment, nullable=False),  # due time minus the priority's head start; smallest first
    Column("payload", JSONB, nullable=False),
    Column("tags", JSONB, nullable=False),
    Column("trace", Text),  # W3C traceparent; its span is the request that submitted it
    Column("attempt", Integer, nullable=False, server_default=text("0")),  # the fencing token
    Column("failures", Integer, nullable=False, server_default=text("0")),  # retries used
    Column("crashes", Integer, nullable=False, server_default=text("0")),  # workers that died holding it
    Column("max_attempts", Integer, nullable=False),
    Column("timeout_s", Double, nullable=False),  # of one attempt
    Column("worker", UUID),  # the worker that runs it
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
    Column("due_at", Moment, nullable=False),
    Column("ticketed_at", Moment),  # when its ticket was published
    Column("started_at", Moment),
    Column("finished_at", Moment),
    Column("progress", JSONB),
    Column("result", JSONB),
    Column("artifacts", JSONB),
    Column("errors", JSONB),  # every failure's time, attempt, code, message and traceback, oldest first
    Column("idempotency_key", Text),  # given by the caller; one job per key
    Column("request_sha256", LargeBinary),  # hash of the request with this key
    Column("unique_key", Text),  # one unfinished job per key
    Column("cancel_requested_at", Moment),
    Column("schedule", UUID),  # the schedule that created it
    Column("replay", UUID),  # the replay that last released it
    Column("retried", JSONB),  # its last retry by hand: `after` which attempt, `at` what time, and `in_doubt`
    Column("bytes", BigInteger, nullable=False, server_default=text("0")),  # size of its upload and artifacts
    Column("preempted", ARRAY(Integer)),  # the attempts that were asked to give way to other tenants
    Column("parent", UUID),  # the job that fanned out into this one
    Column("children", Integer, nullable=False, server_default=text("0")),  # how many it fanned out into
    Column("secret", LargeBinary),  # sealed by the gateway for its worker; a trigger removes it when the job ends
    CheckConstraint(
        "state IN ('scheduled', 'queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled')",
        name="jobs_state",
    ),
    # Rows are updated three times in quick succession: leave free space on the page, and vacuum by row count.
    postgresql_with={
        "fillfactor": "70",
        "autovacuum_vacuum_scale_factor": "0.0",
        "autovacuum_vacuum_threshold": "10000",
    },
)

Index(
    "jobs_waiting",
    jobs.c.queue,
    jobs.c.tenant,
    jobs.c.rank,
    postgresql_where=text("state = 'queued' AND ticketed_at IS NULL"),
)
Index(
    "jobs_ticketed",
    jobs.c.queue,
    jobs.c.ticketed_at,
    postgresql_where=text("state = 'queued' AND ticketed_at IS NOT NULL"),
)
Index("jobs_scheduled", jobs.c.due_at, postgresql_where=text("state = 'scheduled'"))
Index("jobs_running", jobs.c.worker, postgresql_where=text("state = 'running'"))
Index(
    "jobs_by_tenant",
    jobs.c.tenant,
    jobs.c.id.desc(),
    postgresql_where=text("parent IS NULL AND queue <> 'analytics'"),
)
Index(
    "jobs_of_events",
    jobs.c.tenant,
    jobs.c.id.desc(),
    postgresql_where=text("parent IS NULL AND queue = 'analytics'"),
)
Index("jobs_children", jobs.c.parent, jobs.c.id, postgresql_where=text("parent IS NOT NULL"))
Index("jobs_open_children", jobs.c.parent, postgresql_where=text("parent IS NOT NULL AND finished_at IS NULL"))
Index("jobs_flows", jobs.c.queue, jobs.c.id, postgresql_where=text("state = 'waiting'"))
Index(
    "jobs_idempotent",
    jobs.c.tenant,
    jobs.c.idempotency_key,
    unique=True,
    postgresql_where=text("idempotency_key IS NOT NULL"),
)
Index(
    "jobs_unique",
    jobs.c.tenant,
    jobs.c.queue,
    jobs.c.unique_key,
    unique=True,
    postgresql_where=text("unique_key IS NOT NULL AND state IN ('scheduled', 'queued', 'running', 'waiting')"),
)
Index("jobs_finished", jobs.c.queue, jobs.c.finished_at, postgresql_where=text("finished_at IS NOT NULL"))
Index(
    "jobs_failed",
    jobs.c.tenant,
    jobs.c.id,
    postgresql_where=text("state IN ('failed', 'cancelled') AND parent IS NULL"),
)
Index("jobs_recurring", jobs.c.schedule, postgresql_where=text("schedule IS NOT NULL"))
Index("jobs_replayed", jobs.c.replay, postgresql_where=text("replay IS NOT NULL"))

workers = Table(
    "workers",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("queue", Text, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", Moment, nullable=False, server_default=text("now()")),
    Column("heartbeat_at", Moment, nullable=False, server_default=text("now()")),
    Column("offers", JSONB),  # what it can do of what a job may ask for; null: it does not say
)

queues = Table(  # a queue needs a row only for what is here
    "queues",
    metadata,
    Column("name", Text, primary_key=True),
    Column("paused_at", Moment),
    Column("max_running", Integer),
    Column("max_running_per_tenant", Integer),
    Column("shared_until", Moment),  # its slots are shared among tenants until then
    Column("worker_seen_at", Moment),  # last heartbeat of a worker that was removed
)

entries = Table(  # accounting: inserted by transactions that accept or end jobs; see consistency_check.py
    "entries",
    metadata,
    Column("queue", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    CheckConstraint("what IN ('accepted', 'ended', 'bytes')", name="entries_what"),
)

trash = Table(  # folders to remove from the blob store
    "trash",
    metadata,
    Column("folder", Text, nullable=False),
    Column("schedule", UUID),  # its unfinished jobs still need the folder
)

uploads = Table(  # inserted before the job or schedule that will own the upload
    "uploads",
    metadata,
    Column("owner", UUID, primary_key=True),
    Column("folder", Text, nullable=False),
    Column("announced_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Index("uploads_by_age", "announced_at"),
)

idempotency = Table(  # requests that have made something other than a job, whose key is in its own row
    "idempotency",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("key", Text, primary_key=True),  # given by the caller
    Column("request_sha256", LargeBinary, nullable=False),
    Column("made", Text, nullable=False),  # the id of what it has made
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
    Index("idempotency_by_age", "created_at"),
)

schedules = Table(
    "schedules",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("fields", JSONB, nullable=False),  # priority, max_attempts, timeout_s, tags of its jobs
    Column("cron", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("catch_up", Text, nullable=False),
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
    Column("paused_at", Moment),
    Column("next_at", Moment),  # null: the expression has no further fire time
    Column("last_at", Moment),
    Column("missed", Integer, nullable=False, server_default=text("0")),  # number of skipped fire times
    CheckConstraint("catch_up IN ('skip', 'one', 'all')", name="schedules_catch_up"),
    UniqueConstraint("tenant", "name", name="schedules_name"),
)

Index("schedules_due", schedules.c.next_at, postgresql_where=text("paused_at IS NULL"))

replays = Table(
    "replays",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("filter", JSONB, nullable=False),
    Column("rate", Double),  # jobs per second; null: no limit
    Column("stop_after", Integer),  # failure limit: stop after this many failures without a success
    Column("state", Text, nullable=False, server_default=text("'releasing'")),
    Column("reason", Text),
    Column("matched", Integer, nullable=False),
    Column("released", Integer, nullable=False, server_default=text("0")),
    Column("position", UUID),  # the last job that was looked at
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
    Column("ended_at", Moment),
    CheckConstraint("state IN ('releasing', 'finished', 'stopped', 'cancelled')", name="replays_state"),
)

Index("replays_open", replays.c.id, postgresql_where=text("state = 'releasing'"))
