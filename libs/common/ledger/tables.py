"""The ledger's tables. Only libs.common.ledger writes them."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

metadata = MetaData(schema="ledger")

Moment = DateTime(timezone=True)

jobs = Table(
    "jobs",
    metadata,
    Column("id", UUID, primary_key=True),  # version 7: sorts by time of accept
    Column("tenant", Text, nullable=False),
    Column("created_by", Text, nullable=False),  # the key that submitted it
    Column("queue", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("priority", Text, nullable=False),
    Column("rank", Moment, nullable=False),  # due time less the priority's head start; smallest first
    Column("payload", JSONB, nullable=False),
    Column("tags", JSONB, nullable=False),
    Column("trace", Text),  # W3C traceparent of the request that submitted it
    Column("attempt", Integer, nullable=False, server_default=text("0")),  # the fencing token
    Column("failures", Integer, nullable=False, server_default=text("0")),  # retries used
    Column("crashes", Integer, nullable=False, server_default=text("0")),  # workers that died holding it
    Column("max_attempts", Integer, nullable=False),
    Column("timeout_s", Double, nullable=False),  # of one attempt
    Column("worker", UUID),  # who runs it
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
    Column("due_at", Moment, nullable=False),
    Column("ticketed_at", Moment),  # when its ticket was put on the conveyor
    Column("started_at", Moment),
    Column("finished_at", Moment),
    Column("progress", JSONB),
    Column("result", JSONB),
    Column("artifacts", JSONB),
    Column("error", JSONB),
    CheckConstraint(
        "state IN ('scheduled', 'queued', 'running', 'succeeded', 'failed', 'cancelled')", name="jobs_state"
    ),
    # Rows change three times in quick succession: leave room on the page, and vacuum by count, not by share.
    postgresql_with={
        "fillfactor": "70",
        "autovacuum_vacuum_scale_factor": "0.0",
        "autovacuum_vacuum_threshold": "10000",
    },
)

Index(
    "jobs_waiting",
    jobs.c.queue,
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
Index("jobs_by_tenant", jobs.c.tenant, jobs.c.id.desc())

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
)
