"""The tables of the schema `ocr`. Only this service writes them."""

from sqlalchemy import Column, DateTime, Double, Index, Integer, LargeBinary, MetaData, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB, UUID

metadata = MetaData(schema="ocr")

documents = Table(
    "documents",
    metadata,
    Column("job_id", UUID, primary_key=True),  # a document counts once, however often its job was tried
    Column("tenant", Text, nullable=False),
    Column("pages", Integer, nullable=False),
    Column("pages_recognised", Integer, nullable=False),  # the others had a text layer
    Column("mean_confidence", Double),
    Column("finished_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
)

Index("documents_by_tenant", documents.c.tenant, documents.c.finished_at)

readings = Table(  # the page cache: the same pixels, engine and options give the same words
    "readings",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
    Column("folder", Text, nullable=False),  # key prefix in the blob store; deleted with its job
    Column("summary", JSONB, nullable=False),
    Column("read_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
)

Index("readings_by_age", readings.c.read_at)
