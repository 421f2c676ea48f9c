"""The tables of the schema `export`. Only this service writes them.

What is exported belongs to other services: libs/common/contracts/datasets.py says what they publish.
"""

from sqlalchemy import BigInteger, Column, DateTime, Index, MetaData, Table, Text, text
from sqlalchemy.dialects.postgresql import UUID

metadata = MetaData(schema="export")

files = Table(
    "files",
    metadata,
    Column("job", UUID, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("dataset", Text, primary_key=True),
    Column("rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("as_of", DateTime(timezone=True), nullable=False),
    Column("snapshot", Text, nullable=False),  # what was seen, by which a later export tells what is new
    Column("at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
)
Index("files_by_age", files.c.at)
