"""A job may have a secret, which is gone when it ends."""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

# Whatever ends a job: the worker, a cancel, a dead worker's third, or an end that a later version adds. Fired only
# by statements that name `finished_at`, so claims and progress cost nothing more; and run only where there is one.
FORGET = """
CREATE FUNCTION ledger.forget_secret() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  new.secret := NULL;
  RETURN new;
END $$
"""
GONE_AT_THE_END = """
CREATE TRIGGER secret_is_gone_at_the_end BEFORE UPDATE OF finished_at ON ledger.jobs
FOR EACH ROW WHEN (new.secret IS NOT NULL AND new.finished_at IS NOT NULL) EXECUTE FUNCTION ledger.forget_secret()
"""


def upgrade() -> None:
    """Forward only. Workers see the column of jobs of their own queue, as all of the row."""
    # In the order in which workers use them, so that nobody waits for the other.
    op.execute("LOCK TABLE ledger.jobs, ledger.workers, ledger.queues, ledger.entries IN ACCESS EXCLUSIVE MODE")
    op.execute("ALTER TABLE ledger.jobs ADD COLUMN secret bytea")
    op.execute(FORGET)
    op.execute("REVOKE ALL ON FUNCTION ledger.forget_secret() FROM PUBLIC")
    op.execute(GONE_AT_THE_END)
