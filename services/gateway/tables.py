"""The tables of the schema `identity`. Only the gateway writes them."""

from sqlalchemy import CheckConstraint, Column, DateTime, ForeignKey, LargeBinary, MetaData, Table, Text, text

metadata = MetaData(schema="identity")

Moment = DateTime(timezone=True)

tenants = Table(
    "tenants",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),  # the public part of the key
    Column("tenant", Text, ForeignKey("identity.tenants.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("secret_sha256", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
    Column("expires_at", Moment),
    Column("revoked_at", Moment),
    CheckConstraint("role IN ('admin', 'member', 'read')", name="keys_role"),
)
