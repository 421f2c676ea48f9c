"""Scopes of keys, limits of tenants, accounts."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Steering queues was every admin's right; from now on it is a scope, which the keys that had the right keep.
SCOPES = """
ALTER TABLE identity.keys ADD COLUMN scopes jsonb;
UPDATE identity.keys SET scopes = '["jobs:read", "jobs:write", "ocr:write", "schedules:read", "schedules:write",
  "limits:read", "keys:read", "keys:write", "queues:read", "queues:write", "tenants:read", "tenants:write"]'
WHERE role = 'admin';
"""

LIMITS = """
CREATE TABLE identity.limits (
  tenant text NOT NULL REFERENCES identity.tenants (id),
  policy text NOT NULL,
  figure text NOT NULL,
  PRIMARY KEY (tenant, policy)
);
"""

ACCOUNTS = """
CREATE TABLE identity.accounts (
  id uuid NOT NULL PRIMARY KEY,
  email text NOT NULL UNIQUE,
  tenant text NOT NULL REFERENCES identity.tenants (id),
  role text NOT NULL CONSTRAINT accounts_role CHECK (role IN ('admin', 'member', 'read')),
  password text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  disabled_at timestamptz
);
"""


def upgrade() -> None:
    """Forward only."""
    for part in (SCOPES, LIMITS, ACCOUNTS):
        for statement in part.split(";\n"):
            if statement.strip():
                op.execute(statement)
