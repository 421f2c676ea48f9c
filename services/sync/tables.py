"""The tables of the schema `sync`. Only this service writes them."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    DateTime,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB, REGCONFIG, TSVECTOR, UUID
from sqlalchemy.types import UserDefinedType

metadata = MetaData(schema="sync")

Moment = DateTime(timezone=True)
NOW = text("now()")


class TransactionId(UserDefinedType[int]):
    """xid8: the id of a transaction, which never repeats."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Its name in SQL."""
        return "xid8"


sources = Table(
    "sources",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("id", UUID, primary_key=True),
    Column("name", Text, nullable=False),
    Column("spec", JSONB, nullable=False),
    Column("secrets", LargeBinary),  # headers, encrypted; see secrets.py
    Column("header_names", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("run", UUID),  # the job that may write, and
    Column("attempt", Integer, nullable=False, server_default=text("0")),  # its attempt: the fence; see runs.py
    Column("position", JSONB),  # where the run goes on
    Column("validators", JSONB, nullable=False, server_default=text("'{}'")),  # by address, verbatim
    Column("bookmark", Text),
    Column("full_at", Moment),  # when everything was read last
    Column("not_before", Moment),
    Column("fetched_at", Moment),
    Column("succeeded_at", Moment),
    Column("failures", Integer, nullable=False, server_default=text("0")),  # in a row
    Column("paused", Text),  # why it is not fetched any more
    Column("moved_to", Text),
    Column("moves", Integer, nullable=False, server_default=text("0")),  # runs in a row that were led there
    Column("quiet", Integer, nullable=False, server_default=text("0")),  # runs in a row without a change
    Column("remap", Boolean, nullable=False, server_default=text("false")),  # what is kept is to be mapped anew
    Column("created_at", Moment, nullable=False, server_default=NOW),
    UniqueConstraint("tenant", "name"),
    postgresql_with={"fillfactor": "70"},  # every page of a run changes the row
)

opportunities = Table(
    "opportunities",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("id", UUID, nullable=False),
    Column("source", UUID, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("title", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("url", Text),
    Column("agency", Text),
    Column("opens_at", Moment),
    Column("closes_at", Moment),
    Column("closes_on", Date),
    Column("status_said", Text),
    Column("amount_min", Numeric),
    Column("amount_max", Numeric),
    Column("currency", Text),
    Column("extra", JSONB, nullable=False),
    Column("raw", JSONB, nullable=False),
    Column("language", REGCONFIG, nullable=False),
    Column("digest", LargeBinary, nullable=False),  # of all that the source said; see writing.py
    Column("revision", Integer, nullable=False, server_default=text("1")),
    Column("changed_by", TransactionId, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("first_run", UUID, nullable=False),
    Column("last_run", UUID, nullable=False),  # that changed it
    Column("created_at", Moment, nullable=False, server_default=NOW),
    Column("changed_at", Moment, nullable=False, server_default=NOW),
    Column("gone_at", Moment),
    Column(
        "search",
        TSVECTOR,
        Computed(
            "setweight(to_tsvector(language, title), 'A')"
            " || setweight(to_tsvector(language, left(summary, 20000)), 'B')",
            persisted=True,
        ),
    ),
    UniqueConstraint("tenant", "id"),
)
Index(
    "opportunities_by_closing",
    opportunities.c.tenant,
    text("coalesce(closes_at, 'infinity')"),
    opportunities.c.id,
)
Index(
    "opportunities_by_age",
    opportunities.c.tenant,
    opportunities.c.created_at.desc(),
    opportunities.c.id.desc(),
)
Index("opportunities_by_change", opportunities.c.tenant, opportunities.c.changed_by, opportunities.c.id)
Index("opportunities_by_words", opportunities.c.search, postgresql_using="gin")

changes = Table(
    "changes",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("changed_by", TransactionId, primary_key=True, server_default=text("pg_current_xact_id()")),
    Column("number", Integer, primary_key=True, autoincrement=False),  # within the transaction
    Column("opportunity", UUID, nullable=False),
    Column("run", UUID, nullable=False),
    Column("at", Moment, nullable=False, server_default=NOW),
    Column("what", Text, nullable=False),  # inserted, updated, gone, returned
    Column("fields", JSONB, nullable=False),  # by name: [from, to]
)
Index("changes_of_one", changes.c.tenant, changes.c.opportunity, changes.c.changed_by, changes.c.number)
Index("changes_by_age", changes.c.at)

feed = Table(  # one row: whose transactions the changes name; see changes.py
    "feed",
    metadata,
    Column("only_one", Boolean, CheckConstraint("only_one"), primary_key=True, server_default=text("true")),
    Column("place", Text),
    Column("forgotten", TransactionId),  # the newest of those removed
)

seen = Table(  # what a run has found, by the page; gone with the run
    "seen",
    metadata,
    Column("source", UUID, primary_key=True),
    Column("run", UUID, primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("keys", ARRAY(BigInteger), nullable=False),  # hashes
)

rejected = Table(
    "rejected",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("source", UUID, primary_key=True),
    Column("number", BigInteger, Identity(always=True), primary_key=True),
    Column("run", UUID, nullable=False),
    Column("key", Text),
    Column("reason", Text, nullable=False),
    Column("field", Text),
    Column("raw", JSONB, nullable=False),
    Column("at", Moment, nullable=False, server_default=NOW),
)
Index("rejected_by_age", rejected.c.at)

runs = Table(
    "runs",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("id", UUID, primary_key=True),
    Column("source", UUID, nullable=False),
    Column("counters", JSONB, nullable=False, server_default=text("'{}'")),
    Column("began_at", Moment, nullable=False, server_default=NOW),
    Column("ended_at", Moment),
    Column("how", Text),
)
Index("runs_by_age", runs.c.began_at)

searches = Table(  # when they run is said by schedules of the ledger, with the same ids
    "searches",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("id", UUID, nullable=False),
    Column("filter", JSONB, nullable=False),
    Column("letter", JSONB, nullable=False),
    Column("told_by", TransactionId, nullable=False),  # the last change that has been told, by its transaction
    Column("told_number", Integer, nullable=False),  # and its number in it
    Column("told_at", Moment),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    UniqueConstraint("tenant", "id"),
)

search_recipients = Table(
    "search_recipients",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("search", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("name", Text, nullable=False),  # display name, may be empty
    Column("variables", JSON, nullable=False),
    Column("time_zone", Text),
    ForeignKeyConstraint(["tenant", "search"], [searches.c.tenant, searches.c.name], ondelete="CASCADE"),
    Index("recipients_of_a_search", "tenant", "search", text("lower(address)"), unique=True),
)

hosts = Table(  # of no tenant: a host is spoken to by all of them
    "hosts",
    metadata,
    Column("host", Text, primary_key=True),
    Column("next_at", Moment, nullable=False),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("robots", Text),
    Column("robots_at", Moment),
)
