"""Events, what is counted of them, and those that do not count.

The worker owns nothing, so it makes and drops the partitions of analytics.events by a function of the owner.
"""

from alembic import op

from deploy.migrations import provisioning

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

ROLES = ("argosy_analytics", "argosy_analytics_tenant")
ANALYTICS = """
CREATE TABLE analytics.events (
  tenant text NOT NULL,
  id text NOT NULL,
  day date NOT NULL,
  name text NOT NULL,
  at timestamptz NOT NULL,
  subject text,
  properties jsonb NOT NULL,
  received_at timestamptz NOT NULL,
  PRIMARY KEY (tenant, id, day)
) PARTITION BY RANGE (day);
CREATE INDEX events_by_name ON analytics.events (tenant, name, at) INCLUDE (subject);
CREATE INDEX events_by_subject ON analytics.events (tenant, subject, at);

CREATE TABLE analytics.rollups (
  tenant text NOT NULL,
  name text NOT NULL,
  dim text NOT NULL,
  hour timestamptz NOT NULL,
  value text NOT NULL,
  count bigint NOT NULL,
  sum numeric NOT NULL,
  erased bigint NOT NULL DEFAULT 0,
  erased_sum numeric NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant, name, dim, hour, value)
) WITH (fillfactor = 80);

CREATE TABLE analytics.labels (
  tenant text NOT NULL,
  name text NOT NULL,
  dim text NOT NULL,
  day date NOT NULL,
  value text NOT NULL,
  PRIMARY KEY (tenant, name, dim, day, value)
);

CREATE TABLE analytics.uniques (
  tenant text NOT NULL,
  name text NOT NULL,
  day date NOT NULL,
  sketch bytea NOT NULL,
  PRIMARY KEY (tenant, name, day)
);

CREATE TABLE analytics.types (
  tenant text NOT NULL,
  name text NOT NULL,
  version integer NOT NULL,
  rebuilt integer NOT NULL,
  schema jsonb,
  dimensions text[] NOT NULL,
  value text,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, name)
);

CREATE TABLE analytics.erased (
  tenant text NOT NULL,
  subject_hash bytea NOT NULL,
  before timestamptz NOT NULL,
  PRIMARY KEY (tenant, subject_hash)
);

CREATE TABLE analytics.rejected (
  tenant text NOT NULL,
  number bigint GENERATED ALWAYS AS IDENTITY,
  job uuid NOT NULL,
  reason text NOT NULL,
  detail text,
  event jsonb NOT NULL,
  at timestamptz NOT NULL,
  PRIMARY KEY (tenant, number)
);
CREATE INDEX rejected_by_age ON analytics.rejected (at);

CREATE TABLE analytics.tallies (
  tenant text NOT NULL,
  day date NOT NULL,
  events bigint NOT NULL,
  rejected bigint NOT NULL,
  kept bigint NOT NULL,
  PRIMARY KEY (tenant, day)
);

CREATE TABLE analytics.runs (
  job uuid NOT NULL PRIMARY KEY,
  tenant text NOT NULL,
  attempt integer NOT NULL,
  position text NOT NULL DEFAULT '',
  figures jsonb NOT NULL DEFAULT '{}',
  begun_at timestamptz NOT NULL DEFAULT now()
)
"""
TABLES = ("events", "rollups", "labels", "uniques", "types", "erased", "rejected", "tallies", "runs")
# What a value of a dimension is called. Control characters are left out, so that no caller can write the name of
# the values that are counted together, which begins with one.
LABEL = r"""
CREATE FUNCTION analytics.label(value jsonb) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE coalesce(jsonb_typeof(value), 'null')
    WHEN 'null' THEN ''
    WHEN 'object' THEN 'object'
    WHEN 'array' THEN 'array'
    ELSE left(translate(value #>> '{}', (
      E'\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10'
      '\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f'), ''), 200)
  END
$$
"""
# Past months are made once, at first: later an empty one would take the place of one that has been dropped, whose
# events are counted. ATTACH lets others write meanwhile, which CREATE … PARTITION OF does not. A drop waits for
# nobody for long: it is tried again.
PARTITIONS = """
CREATE FUNCTION analytics.keep_partitions(first date, last date) RETURNS date
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '3s' AS $$
DECLARE
  month date;
  name text;
BEGIN
  IF last - first NOT BETWEEN 0 AND 40 * 366 THEN
    RAISE EXCEPTION 'these are not the first and the last day to keep';
  END IF;
  PERFORM pg_advisory_xact_lock(hashtext('analytics.keep_partitions'));
  SELECT coalesce(min(to_date(right(relname, 6), 'YYYYMM')), date_trunc('month', first)) INTO month
  FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = 'analytics.events'::regclass;
  WHILE month <= last LOOP
    name := 'analytics.events_' || to_char(month, 'YYYYMM');
    IF to_regclass(name) IS NULL THEN
      EXECUTE format('CREATE TABLE %s (LIKE analytics.events)', name);
      EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
      EXECUTE format('CREATE POLICY of_the_owner ON %s TO CURRENT_USER USING (true) WITH CHECK (true)', name);
      EXECUTE format('ALTER TABLE analytics.events ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
        name, month, (month + interval '1 month')::date);
    END IF;
    month := month + interval '1 month';
  END LOOP;
  FOR name IN
    SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'analytics.events'::regclass AND relname < 'events_' || to_char(first, 'YYYYMM')
  LOOP
    EXECUTE format('DROP TABLE analytics.%I', name);
  END LOOP;
  RETURN month;
END $$
"""


def upgrade() -> None:
    """Forward only."""
    for statement in provisioning.service("analytics", *ROLES, queue="analytics"):
        op.execute(statement)
    for role in ROLES:
        for statement in provisioning.members_too(role, ("argosy_ocr", "argosy_mailer")):
            op.execute(statement)
    for statement in (*ANALYTICS.split(";\n"), LABEL, PARTITIONS):
        op.execute(statement)
    for table in TABLES:
        for statement in provisioning.table(f"analytics.{table}", *ROLES):
            op.execute(statement)
    op.execute("REVOKE ALL ON FUNCTION analytics.keep_partitions, analytics.label FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION analytics.label TO {', '.join(ROLES)}")
    op.execute(f"GRANT EXECUTE ON FUNCTION analytics.keep_partitions TO {ROLES[0]}")
    for statement in provisioning.fleet_schedule("analytics", "housekeeping", "15 2 * * *"):
        op.execute(statement)
