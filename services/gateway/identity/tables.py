"""The tables of the schema `identity`. Only the gateway writes to them."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

metadata = MetaData(schema="identity")

Moment = DateTime(timezone=True)

tenants = Table(
    "tenants",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
    CheckConstraint("id <> 'argosy'", name="tenants_not_the_fleet"),
)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),  # the public part of the key
    Column("tenant", Text, ForeignKey("identity.tenants.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("scopes", JSONB),  # null: all scopes of the role
    Column("secret_sha256", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
    Column("expires_at", Moment),
    Column("revoked_at", Moment),
    CheckConstraint("role IN ('admin', 'member', 'read')", name="keys_role"),
    Index("keys_living", "tenant", "expires_at", postgresql_where=text("revoked_at IS NULL")),
    Index("keys_listed", "tenant", "created_at", "id"),
)

limits = Table(
    "limits",
    metadata,
    Column("tenant", Text, ForeignKey("identity.tenants.id"), primary_key=True),
    Column("policy", Text, primary_key=True),
    Column("figure", Text, nullable=False),  # as in limits/policies.py: 600/min, shadow 50/h, off
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("email", Text, nullable=False, unique=True),  # in lower case
    Column("tenant", Text, ForeignKey("identity.tenants.id"), nullable=False),
    Column("role", Text, nullable=False),
    Column("password", Text, nullable=False),  # argon2id, with its parameters and its salt
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
    Column("disabled_at", Moment),
    CheckConstraint("role IN ('admin', 'member', 'read')", name="accounts_role"),
)
