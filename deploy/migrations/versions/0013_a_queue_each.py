"""A worker's role reaches the ledger's rows of its own queue only, and leaves argosy_worker.

argosy_worker keeps all of them, for a login that serves all workers.
"""

from alembic import op

from deploy.migrations import provisioning

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

SECURED = """
ALTER TABLE ledger.{table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_fleet ON ledger.{table} TO argosy_gateway, argosy_worker USING (true) WITH CHECK (true);
CREATE POLICY of_the_owner ON ledger.{table} TO CURRENT_USER USING (true) WITH CHECK (true)
"""
CANCELS = "CREATE POLICY of_the_tenant ON ledger.entries FOR INSERT TO argosy_tenant WITH CHECK (true)"


def upgrade() -> None:
    """Forward only."""
    # In the order in which workers use them, so that nobody waits for the other.
    op.execute("LOCK TABLE ledger.jobs, ledger.workers, ledger.queues, ledger.entries IN ACCESS EXCLUSIVE MODE")
    for table in ("workers", "queues", "entries"):
        for statement in SECURED.format(table=table).split(";\n"):
            op.execute(statement)
    op.execute(CANCELS)
    op.execute("DROP POLICY of_the_mailers_tenant ON ledger.jobs")
    for policy in ("of_the_fleet", "of_the_tenant"):  # it was argosy_worker's
        op.execute(f"DROP POLICY {policy} ON ocr.readings")
    for statement in (
        *provisioning.service("ocr", "argosy_ocr", queue="ocr"),
        *provisioning.table("ocr.readings", "argosy_ocr"),
        *provisioning.service("mail", "argosy_mailer", "argosy_mailer_tenant", queue="mailer"),
        *provisioning.may_read(("id", "tenant", "finished_at"), "argosy_mailer_tenant", queue="mailer"),
    ):
        op.execute(statement)
