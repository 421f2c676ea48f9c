"""Payloads can be forgotten, ended jobs are found by their queue, and no tenant has the name of the fleet."""

from alembic import op

from deploy.migrations import provisioning

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# Fired only by statements that name the column, so the end of any other job costs nothing more.
REFUSE = """
CREATE FUNCTION ledger.refuse_payload() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE insufficient_privilege USING MESSAGE = 'a payload can be forgotten, but not changed';
END $$
"""
FORGOTTEN_ONLY = """
CREATE TRIGGER payload_is_forgotten_only BEFORE UPDATE OF payload ON ledger.jobs
FOR EACH ROW WHEN (new.payload <> '{}') EXECUTE FUNCTION ledger.refuse_payload()
"""


def upgrade() -> None:
    """Forward only."""
    # In the order in which workers use them, so that nobody waits for the other.
    op.execute("LOCK TABLE ledger.jobs, ledger.workers, ledger.queues, ledger.entries IN ACCESS EXCLUSIVE MODE")
    op.execute(REFUSE)
    op.execute("REVOKE ALL ON FUNCTION ledger.refuse_payload() FROM PUBLIC")
    op.execute(FORGOTTEN_ONLY)
    for queue, role in (("ocr", "argosy_ocr"), ("mailer", "argosy_mailer")):
        for statement in provisioning.ledger_of(queue, role):
            op.execute(statement)
    op.execute("DROP INDEX ledger.jobs_finished")
    op.execute("CREATE INDEX jobs_finished ON ledger.jobs (queue, finished_at) WHERE finished_at IS NOT NULL")
    op.execute("ALTER TABLE identity.tenants ADD CONSTRAINT tenants_not_the_fleet CHECK (id <> 'argosy')")
