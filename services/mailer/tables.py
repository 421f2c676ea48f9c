"""The tables of the schema `mail`. Only this service writes them."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSON, JSONB, UUID

metadata = MetaData(schema="mail")

letters = Table(
    "letters",
    metadata,
    Column("id", UUID, primary_key=True),  # also the id of its job
    Column("tenant", Text, nullable=False),
    Column("content", JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("expires_at", DateTime(timezone=True)),
    Column(
        "composing_s", Double, nullable=False, server_default=text("0")
    ),  # seconds of CPU, since its last retry
    Column("composing_since", DateTime(timezone=True)),  # the time of that retry by hand
)

recipients = Table(
    "recipients",
    metadata,
    Column("letter", UUID, ForeignKey(letters.c.id, ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("name", Text, nullable=False),  # display name, may be empty
    Column("domain", Text, nullable=False),
    Column("variables", JSON),
    Column("time_zone", Text),
    Column("state", Text, nullable=False),
    Column(
        "attempt", Integer, nullable=False, server_default=text("0")
    ),  # of the job that owns this row: the fencing token
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("doubts", Integer, nullable=False, server_default=text("0")),  # times sent again in doubt
    Column("code", Integer),
    Column("enhanced", Text),
    Column("reply", Text),
    Column("due_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("sent_at", DateTime(timezone=True)),
    CheckConstraint(
        "state IN ('queued', 'sending', 'sent', 'deferred', 'bounced', 'suppressed', 'unknown', 'cancelled')",
        name="recipients_state",
    ),
    # A row changes twice while its letter is sent: leave room on the page, and vacuum by count, not by share.
    postgresql_with={
        "fillfactor": "60",
        "autovacuum_vacuum_scale_factor": "0.0",
        "autovacuum_vacuum_threshold": "10000",
    },
)

templates = Table(
    "templates",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("subject", Text, nullable=False),
    Column("text", Text),
    Column("html", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
)

suppressions = Table(
    "suppressions",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("address", Text, primary_key=True),  # in lower case
    Column("number", BigInteger, Identity(always=True), nullable=False),
    Column("reason", Text, nullable=False),  # bounce, complaint, unsubscribe, manual
    Column("letter", UUID),  # the letter that led to it
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("expires_at", DateTime(timezone=True)),
    CheckConstraint("reason IN ('bounce', 'complaint', 'unsubscribe', 'manual')", name="suppressions_reason"),
)

deadlines = Table(
    "deadlines",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("due_at", DateTime(timezone=True)),  # NULL: what it follows has no date
    Column("variables", JSON, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("follows", Text),  # what another service tells the date of
    Column("revision", Integer, nullable=False, server_default=text("0")),  # of what it follows
    Column("retired_at", DateTime(timezone=True)),  # when what it follows was gone
    Index("deadlines_by_time", "tenant", "due_at"),
    Index("deadlines_by_age", "due_at"),
    Index("deadlines_that_follow", "tenant", "follows", postgresql_where=text("follows IS NOT NULL")),
    Index("deadlines_retired", "retired_at", postgresql_where=text("retired_at IS NOT NULL")),
)

followers = Table(
    "followers",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("deadline", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("name", Text, nullable=False),  # display name, may be empty
    Column("variables", JSON, nullable=False),
    Column("time_zone", Text),
    Column("reminded_of", DateTime(timezone=True)),  # due_at of the deadline at the last reminder
    Column("reminded_days", Integer),  # days before the deadline at the last reminder
    Column("reminded_by", UUID),  # the letter with the last reminder, and the recipient in it
    Column("reminded_number", Integer),
    ForeignKeyConstraint(["tenant", "deadline"], [deadlines.c.tenant, deadlines.c.name], ondelete="CASCADE"),
    Index("followers_of_a_deadline", "tenant", "deadline", text("lower(address)"), unique=True),
)
