"""The tables of the schema `analytics`. Only this service writes them.

The partitions of `events`, one a month, are made while the worker runs (partitions.py).
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

metadata = MetaData(schema="analytics")

Moment = DateTime(timezone=True)

events = Table(
    "events",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("day", Date, primary_key=True),  # of `at`, in UTC
    Column("name", Text, nullable=False),
    Column("at", Moment, nullable=False),
    Column("subject", Text),
    Column("properties", JSONB, nullable=False),
    Column("received_at", Moment, nullable=False),
    postgresql_partition_by="RANGE (day)",
)
Index("events_by_name", events.c.tenant, events.c.name, events.c.at, postgresql_include=["subject"])
Index("events_by_subject", events.c.tenant, events.c.subject, events.c.at)

rollups = Table(
    "rollups",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("dim", Text, primary_key=True),  # '' is the total
    Column("hour", Moment, primary_key=True),  # when it begins
    Column("value", Text, primary_key=True),  # of the dimension
    Column("count", BigInteger, nullable=False),
    Column("sum", Numeric, nullable=False),  # of the type's value
    Column("erased", BigInteger, nullable=False, server_default=text("0")),  # of those counted: no longer kept
    Column("erased_sum", Numeric, nullable=False, server_default=text("0")),
    postgresql_with={"fillfactor": "80"},  # the rows of the current hour change with every batch
)

labels = Table(  # the values of a dimension that are told apart on a day; see rollups.py
    "labels",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("dim", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("value", Text, primary_key=True),
)

uniques = Table(
    "uniques",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("sketch", LargeBinary, nullable=False),  # HyperLogLog of the subjects; see sketches.py
)

types = Table(
    "types",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("rebuilt", Integer, nullable=False),  # the version by which all days are counted
    Column("schema", JSONB),
    Column("dimensions", ARRAY(Text), nullable=False),
    Column("value", Text),
    Column("created_at", Moment, nullable=False, server_default=text("now()")),  # of this version
)

erased = Table(
    "erased",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("subject_hash", LargeBinary, primary_key=True),
    Column("before", Moment, nullable=False),  # events up to then stay out
)

rejected = Table(
    "rejected",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("number", BigInteger, Identity(always=True), primary_key=True),
    Column("job", UUID, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text),
    Column("event", JSONB, nullable=False),
    Column("at", Moment, nullable=False),  # when it was received
)
Index("rejected_by_age", rejected.c.at)

tallies = Table(
    "tallies",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("day", Date, primary_key=True),  # on which they were received
    Column("events", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    Column("kept", BigInteger, nullable=False),  # rows that were written to `rejected`
)

runs = Table(  # jobs that write before they end; see runs.py
    "runs",
    metadata,
    Column("job", UUID, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("attempt", Integer, nullable=False),  # the fencing token
    Column("position", Text, nullable=False, server_default=text("''")),  # how far it has come
    Column("figures", JSONB, nullable=False, server_default=text("'{}'")),
    Column("begun_at", Moment, nullable=False, server_default=text("now()")),
)
