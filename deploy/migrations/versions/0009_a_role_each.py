"""A role for each service: of the workers' tables it sees its own only.

argosy_worker is left with the ledger, and every service's role is a member of it. A login that served all workers
goes on doing so; deploy/permissions.py has one for each.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Roles belong to the server, not to this database: another database's migrations may have made them already.
ROLE = """
DO $$ BEGIN
  CREATE ROLE {role} NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$
"""
# Whoever migrates may run the services too, and so may whoever ran the workers before, itself or as a group.
# (Since PostgreSQL 16 whoever made a role is a member of it, and may yet not work as it.)
MEMBERS = """
DO $$ DECLARE login name; BEGIN
  FOR login IN
    SELECT rolname FROM pg_roles r WHERE NOT rolsuper AND rolname NOT IN ('argosy_ocr', 'argosy_mailer')
      AND NOT EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid AND m.roleid = '{role}'::regrole
        AND coalesce((to_jsonb(m) ->> 'set_option')::bool, true))
      AND (rolname = current_user OR EXISTS (
        SELECT FROM pg_auth_members m WHERE m.member = r.oid AND m.roleid = 'argosy_worker'::regrole))
  LOOP
    EXECUTE format('GRANT {role} TO %I', login);
  END LOOP;
END $$
"""
# Once for the server: whoever grants it again would be one more who is answerable for it.
A_WORKER = """
DO $$ BEGIN
  IF NOT pg_has_role('{role}', 'argosy_worker', 'MEMBER') THEN
    GRANT argosy_worker TO {role};
  END IF;
END $$
"""
GRANTS = """
REVOKE ALL ON ALL TABLES IN SCHEMA ocr, mail FROM argosy_worker, argosy_tenant;
REVOKE ALL ON SCHEMA ocr, mail FROM argosy_worker, argosy_tenant;
GRANT USAGE ON SCHEMA ocr TO argosy_ocr;
GRANT USAGE ON SCHEMA mail TO argosy_mailer, argosy_mailer_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ocr TO argosy_ocr;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA mail TO argosy_mailer, argosy_mailer_tenant;
GRANT USAGE ON SCHEMA ledger TO argosy_mailer_tenant;
GRANT SELECT ON ledger.jobs TO argosy_mailer_tenant;
CREATE POLICY of_the_mailers_tenant ON ledger.jobs FOR SELECT TO argosy_mailer_tenant
  USING (tenant = nullif(current_setting('argosy.tenant', true), ''));
DROP POLICY of_the_tenant ON ocr.documents;
DROP POLICY of_the_fleet ON ocr.documents;
CREATE POLICY of_the_service ON ocr.documents TO argosy_ocr USING (true) WITH CHECK (true);
"""
MAIL = """
DROP POLICY of_the_tenant ON {table};
DROP POLICY of_the_fleet ON {table};
CREATE POLICY of_the_service ON {table} TO argosy_mailer USING (true) WITH CHECK (true);
CREATE POLICY of_the_tenant ON {table} TO argosy_mailer_tenant
  USING (tenant = nullif(current_setting('argosy.tenant', true), ''))
  WITH CHECK (tenant = nullif(current_setting('argosy.tenant', true), ''));
"""
MAIL_TABLES = ("letters", "recipients", "suppressions", "templates", "deadlines", "followers")


def upgrade() -> None:
    """Forward only."""
    for role in ("argosy_ocr", "argosy_mailer", "argosy_mailer_tenant"):
        op.execute(ROLE.format(role=role))
        op.execute(MEMBERS.format(role=role))
    for role in ("argosy_ocr", "argosy_mailer"):
        op.execute(A_WORKER.format(role=role))
    mail = "".join(MAIL.format(table=f"mail.{table}") for table in MAIL_TABLES)
    for statement in (GRANTS + mail).split(";\n"):
        if statement.strip():
            op.execute(statement)
