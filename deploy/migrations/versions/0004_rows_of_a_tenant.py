"""Roles that own nothing, and row-level security on every table with a tenant.

argosy_gateway and argosy_worker are what processes work as, for all tenants; argosy_tenant is what a gateway turns
into for a statement on behalf of one. None can log in: a login of yours is made a member of them.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Roles belong to the server, not to this database: another database's migrations may have made them already.
ROLE = """
DO $$ BEGIN
  CREATE ROLE {role} NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$
"""
# Whoever migrates may then run the services too, with the same address. A superuser may anyway.
MEMBER = """
DO $$ BEGIN
  IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
    EXECUTE format('GRANT {role} TO %I', current_user);
  END IF;
END $$
"""
GRANTS = """
GRANT USAGE ON SCHEMA ledger TO argosy_gateway, argosy_worker, argosy_tenant;
GRANT USAGE ON SCHEMA identity TO argosy_gateway, argosy_tenant;
GRANT USAGE ON SCHEMA ocr TO argosy_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ledger TO argosy_gateway, argosy_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA identity TO argosy_gateway;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ocr TO argosy_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON ledger.jobs, ledger.schedules, ledger.replays TO argosy_tenant;
GRANT INSERT ON ledger.entries TO argosy_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.tenants, identity.keys, identity.limits TO argosy_tenant;
"""
# Without a tenant set, the condition is null, and no row is anybody's.
SECURED = """
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_tenant ON {table} TO argosy_tenant
  USING ({column} = nullif(current_setting('argosy.tenant', true), ''))
  WITH CHECK ({column} = nullif(current_setting('argosy.tenant', true), ''));
CREATE POLICY of_the_fleet ON {table} TO argosy_gateway, argosy_worker USING (true) WITH CHECK (true);
"""
# Forced on the owner too, who then needs to be let in: migrations change rows.
OWNER = """
DO $$ BEGIN
  EXECUTE format('CREATE POLICY of_the_owner ON {table} TO %I USING (true) WITH CHECK (true)', current_user);
END $$
"""
TENANT_COLUMNS = {
    "ledger.jobs": "tenant",
    "ledger.schedules": "tenant",
    "ledger.replays": "tenant",
    "identity.tenants": "id",
    "identity.keys": "tenant",
    "identity.limits": "tenant",
    "identity.accounts": "tenant",
    "ocr.documents": "tenant",
}


def upgrade() -> None:
    """Forward only."""
    for role in ("argosy_gateway", "argosy_worker", "argosy_tenant"):
        op.execute(ROLE.format(role=role))
        op.execute(MEMBER.format(role=role))
    secured = "".join(SECURED.format(table=table, column=column) for table, column in TENANT_COLUMNS.items())
    for statement in (GRANTS + secured).split(";\n"):
        if statement.strip():
            op.execute(statement)
    for table in TENANT_COLUMNS:
        op.execute(OWNER.format(table=table))
