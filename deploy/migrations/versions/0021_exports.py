"""What has been exported, and the columns of other services that are published for it.

The exporter reads a published column only on behalf of a tenant, and only the rows of that tenant.
"""

from alembic import op

from deploy.migrations import provisioning

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

ROLES = ("argosy_exporter", "argosy_exporter_tenant")
FILES = """
CREATE TABLE export.files (
  job uuid NOT NULL PRIMARY KEY,
  tenant text NOT NULL,
  dataset text NOT NULL,
  rows bigint NOT NULL,
  bytes bigint NOT NULL,
  as_of timestamptz NOT NULL,
  snapshot text NOT NULL,
  at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX files_by_age ON export.files (at)
"""
PUBLISHED = {
    "sync.opportunities": "id key title summary url agency opens_at closes_at closes_on status_said amount_min"
    " amount_max currency extra revision created_at changed_at gone_at changed_by",
    "sync.changes": "opportunity at what fields changed_by",
    "ledger.jobs": "id queue kind state priority created_by created_at due_at started_at finished_at attempt"
    " failures max_attempts bytes tags result schedule parent",
    "mail.recipients": "letter number address name time_zone state tries code enhanced reply due_at updated_at"
    " sent_at",
    "mail.suppressions": "address reason letter created_at expires_at",
    "mail.deadlines": "name due_at variables updated_at",
    "mail.followers": "deadline address name time_zone reminded_of",
    "ocr.documents": "job_id pages pages_recognised mean_confidence finished_at",
    "analytics.events": "id name at subject properties received_at",
    "analytics.rejected": "number job reason detail event at",
    "analytics.rollups": "name dim hour value count sum",
}


def upgrade() -> None:
    """Forward only."""
    for statement in provisioning.service("export", *ROLES, queue="exporter"):
        op.execute(statement)
    for role in ROLES:
        for statement in provisioning.members_too(role, ("argosy_ocr", "argosy_mailer", "argosy_analytics")):
            op.execute(statement)
    for statement in FILES.split(";\n"):
        op.execute(statement)
    for statement in provisioning.table("export.files", *ROLES):
        op.execute(statement)
    for table, columns in PUBLISHED.items():
        for statement in provisioning.publish(table, columns.split(), ROLES[1]):
            op.execute(statement)
    for statement in provisioning.may_enqueue(ROLES[0], "mailer", "letter"):
        op.execute(statement)
    for statement in provisioning.fleet_schedule("exporter", "housekeeping", "45 2 * * *"):
        op.execute(statement)
