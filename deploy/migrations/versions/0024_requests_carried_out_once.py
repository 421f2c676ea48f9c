"""Requests that make something other than a job are carried out once, and workers tell what they offer."""

from alembic import op

from deploy.migrations import provisioning

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

IDEMPOTENCY = """
CREATE TABLE ledger.idempotency (
  tenant text NOT NULL,
  key text NOT NULL,
  request_sha256 bytea NOT NULL,
  made text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, key)
)
"""
WORKERS = {
    "ocr": "argosy_ocr",
    "mailer": "argosy_mailer",
    "analytics": "argosy_analytics",
    "sync": "argosy_sync",
    "exporter": "argosy_exporter",
}


def upgrade() -> None:
    """Forward only."""
    # In the order in which workers use them, so that nobody waits for the other.
    op.execute("LOCK TABLE ledger.jobs, ledger.workers, ledger.queues, ledger.entries IN ACCESS EXCLUSIVE MODE")
    op.execute(IDEMPOTENCY)
    op.execute("CREATE INDEX idempotency_by_age ON ledger.idempotency (created_at)")
    for statement in provisioning.table("ledger.idempotency", "argosy_gateway", "argosy_tenant"):
        op.execute(statement)
    op.execute("ALTER TABLE ledger.workers ADD COLUMN offers jsonb")
    for queue, role in WORKERS.items():
        for statement in provisioning.ledger_of(queue, role):
            op.execute(statement)
