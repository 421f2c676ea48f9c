"""The tables of the schema `mail`. Only this service writes them."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
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
    Column("id", UUID, primary_key=True),  # the job's
    Column("tenant", Text, nullable=False),
    Column("content", JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("expires_at", DateTime(timezone=True)),
)

recipients = Table(
    "recipients",
    metadata,
    Column("letter", UUID, ForeignKey(letters.c.id, ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("name", Text, nullable=False),  # with the name
    Column("domain", Text, nullable=False),
    Column("variables", JSON),
    Column("time_zone", Text),
    Column("state", Text, nullable=False),
    Column(
        "attempt", Integer, nullable=False, server_default=text("0")
    ),  # of the job that has this row: the fence
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("doubts", Integer, nullable=False, server_default=text("0")),  # sent again without knowing
    Column("code", Integer),
    Column("enhanced", Text),
    Column("reply", Text),
    Column("due_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("sent_at", DateTime(timezone=True)),
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
    Column("number", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),  # bounce, complaint, unsubscribe, manual
    Column("letter", UUID),  # that led to it
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("expires_at", DateTime(timezone=True)),
)

deadlines = Table(
    "deadlines",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("due_at", DateTime(timezone=True), nullable=False),
    Column("variables", JSON, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
)

Index("deadlines_by_time", deadlines.c.tenant, deadlines.c.due_at)
Index("deadlines_by_age", deadlines.c.due_at)

followers = Table(
    "followers",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("deadline", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("name", Text, nullable=False),  # with the address
    Column("variables", JSON, nullable=False),
    Column("time_zone", Text),
    Column("reminded_of", DateTime(timezone=True)),  # the time that the deadline had then
    Column("reminded_days", Integer),  # before it
    Column("reminded_by", UUID),  # the letter, and as which of its recipients
    Column("reminded_number", Integer),
    ForeignKeyConstraint(["tenant", "deadline"], [deadlines.c.tenant, deadlines.c.name], ondelete="CASCADE"),
    Index("followers_of_a_deadline", "tenant", "deadline", text("lower(address)"), unique=True),
)
