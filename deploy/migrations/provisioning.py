"""Statements that a new service's migration needs: its schema, its roles, and row-level security for its tables.

They take names and not a row of the table of services, because a migration must do the same for ever. All of them
may be run again.
"""

from collections.abc import Iterator

# Roles belong to the server, not to this database: another database's migrations may have made them already.
_ROLE = """
DO $$ BEGIN
  CREATE ROLE {role} NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$
"""
# Whoever migrates may run the services too. Since PostgreSQL 16 the maker of a role may yet not work as it.
_MIGRATOR_IS_A_MEMBER = """
DO $$ BEGIN
  IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
     AND NOT EXISTS (SELECT FROM pg_auth_members m WHERE m.member = current_user::regrole
       AND m.roleid = '{role}'::regrole AND coalesce((to_jsonb(m) ->> 'set_option')::bool, true)) THEN
    GRANT {role} TO CURRENT_USER;
  END IF;
END $$
"""
# Once for the server: a second grant by somebody else would make one more who is answerable for it.
_A_WORKER = """
DO $$ BEGIN
  IF NOT pg_has_role('{role}', 'argosy_worker', 'MEMBER') THEN
    GRANT argosy_worker TO {role};
  END IF;
END $$
"""
_POLICY = """
DO $$ BEGIN
  DROP POLICY IF EXISTS {name} ON {table};
  EXECUTE format('CREATE POLICY {name} ON {table} TO %I USING ({rows}) WITH CHECK ({rows})', {role});
END $$
"""
_OF_THE_TENANT = "tenant = nullif(current_setting(''argosy.tenant'', true), '''')"


def service(schema: str, role: str, tenant_role: str | None = None) -> Iterator[str]:
    """The schema of a worker, the role it works as, and its role for statements on behalf of a tenant, if any."""
    for name in filter(None, (role, tenant_role)):
        yield _ROLE.format(role=name)
        yield _MIGRATOR_IS_A_MEMBER.format(role=name)
    yield _A_WORKER.format(role=role)
    yield f"CREATE SCHEMA IF NOT EXISTS {schema}"
    yield f"GRANT USAGE ON SCHEMA {schema} TO {', '.join(filter(None, (role, tenant_role)))}"


def table(name: str, role: str, tenant_role: str | None = None) -> Iterator[str]:
    """Grants and row-level security of the table `name` (with its schema), which has a column `tenant`.

    The service sees all rows, `tenant_role` those of the tenant in argosy.tenant, nobody else any.
    """
    yield f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
    yield f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO {', '.join(filter(None, (role, tenant_role)))}"
    yield _POLICY.format(name="of_the_service", table=name, rows="true", role=f"'{role}'")
    yield _POLICY.format(name="of_the_owner", table=name, rows="true", role="current_user")
    if tenant_role is not None:
        yield _POLICY.format(name="of_the_tenant", table=name, rows=_OF_THE_TENANT, role=f"'{tenant_role}'")
