"""Statements that a new service's migration needs: its schema, its roles, its queue, and security for its tables.

They take names and not a row of the table of services, because a migration must do the same for ever. All of them
may be run again, as after a restore.

A policy of a role holds for its members too, and of two policies one is enough. So the role of a service is a
member of no other: what it may do with the ledger is granted to itself, for the rows of its own queue.
"""

from collections.abc import Iterator, Sequence

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
_MEMBERS_TOO = """
DO $$ DECLARE login name; BEGIN
  FOR login IN
    SELECT rolname FROM pg_roles r WHERE NOT rolsuper
      AND NOT EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid AND m.roleid = '{role}'::regrole
        AND coalesce((to_jsonb(m) ->> 'set_option')::bool, true))
      AND NOT EXISTS (SELECT FROM unnest(string_to_array('{others}', ' ')) AS other WHERE NOT EXISTS (
        SELECT FROM pg_auth_members m WHERE m.member = r.oid AND m.roleid = other::regrole))
  LOOP
    EXECUTE format('GRANT {role} TO %I', login);
  END LOOP;
END $$
"""
# Since PostgreSQL 16 each role that has granted a membership has made one, and only it can take that one back.
_MEMBER_OF_NOTHING = """
DO $$ DECLARE membership record; BEGIN
  FOR membership IN
    SELECT m.roleid::regrole AS role, m.grantor::regrole AS grantor FROM pg_auth_members m
    WHERE m.member = '{role}'::regrole
  LOOP
    EXECUTE format('REVOKE %s FROM {role}%s', membership.role, CASE
      WHEN current_setting('server_version_num')::int >= 160000 THEN ' GRANTED BY ' || membership.grantor END);
  END LOOP;
END $$
"""
_OF_THE_TENANT = "tenant = nullif(current_setting('argosy.tenant', true), '')"

QUEUE_COLUMNS = {"jobs": "queue", "workers": "queue", "queues": "name", "entries": "queue"}
"""The tables of the ledger that workers use, and the column with the queue. The other tables are not theirs."""
# What a job is (its tenant, queue, payload and keys) the gateway has said; how it goes is the worker's to write.
# The payload may only be forgotten: a trigger refuses everything else. A column that a later migration adds is
# granted by running `ledger_of` again after it.
_WRITTEN = {
    ("jobs", "INSERT"): "id tenant created_by queue kind state priority rank payload tags trace max_attempts"
    " timeout_s due_at ticketed_at parent",  # children
    ("jobs", "UPDATE"): "state rank attempt failures crashes worker due_at ticketed_at started_at finished_at"
    " progress result artifacts errors bytes children payload",
    ("workers", "INSERT"): "id queue slots host pid",
    ("workers", "UPDATE"): "heartbeat_at offers",
    ("queues", "INSERT"): "name worker_seen_at",
    ("queues", "UPDATE"): "worker_seen_at",
    ("entries", "INSERT"): "queue what amount",
}
_GRANT_COLUMNS = """
DO $$ BEGIN
  EXECUTE (
    SELECT format('GRANT {privilege} (%s) ON ledger.{table} TO {role}', string_agg(quote_ident(attname), ', '))
    FROM pg_attribute
    WHERE attrelid = 'ledger.{table}'::regclass AND attname = ANY(string_to_array('{columns}', ' ')));
END $$
"""

# The first moment is now, when nothing is due: the dispatcher then works out the next. A run that takes longer
# than the time between two is not joined by another.
_FLEET_SCHEDULE = """
INSERT INTO ledger.schedules
  (id, tenant, created_by, name, queue, kind, payload, fields, cron, timezone, catch_up, next_at)
VALUES (gen_random_uuid(), 'argosy', 'argosy', '{queue}:{kind}', '{queue}', '{kind}', '{{}}',
  '{{"priority": "normal", "max_attempts": 5, "timeout_s": 3600, "tags": [], "unique_for": "{kind}"}}',
  '{cron}', 'UTC', 'one', now())
ON CONFLICT (tenant, name) DO UPDATE SET cron = excluded.cron, next_at = excluded.next_at
"""

ENQUEUER = "argosy_enqueuer"
"""The owner of the functions that make jobs of another queue. It may insert such jobs, and nothing else."""
_OF_EVERY_OWNER = ("argosy_gateway", "argosy_ocr", "argosy_mailer")
"""Who may work as all of these owns a database of the fleet, or might as well."""
_ENQUEUE_ARGUMENTS = (
    "job uuid, tenant text, created_by text, payload jsonb, due_at timestamptz DEFAULT now(),"
    " max_attempts integer DEFAULT 5, timeout_s double precision DEFAULT 3600, trace text DEFAULT NULL"
)
# PostgreSQL itself sees to who may call it, by the role that the caller works as: nothing here asks who calls.
# Queue and kind are constants. A repeated id inserts nothing, as in ledger/accept.py; `normal` is ranked as there.
_ENQUEUE = """
CREATE OR REPLACE FUNCTION {function} ({arguments}) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO ledger.jobs
    (id, tenant, created_by, queue, kind, state, priority, rank,
     payload, tags, trace, max_attempts, timeout_s, due_at)
  VALUES (job, tenant, created_by, '{queue}', '{kind}',
    CASE WHEN due_at > now() THEN 'scheduled' ELSE 'queued' END, 'normal', due_at - interval '300 seconds',
    payload, '[]', trace, max_attempts, timeout_s, due_at)
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  INSERT INTO ledger.entries (queue, what, amount) VALUES ('{queue}', 'accepted', 1);
  RETURN true;
END $$
"""


def _role(name: str) -> Iterator[str]:
    """A role that nobody logs in as, and that is a member of no other."""
    yield _ROLE.format(role=name)
    yield _MIGRATOR_IS_A_MEMBER.format(role=name)
    yield _MEMBER_OF_NOTHING.format(role=name)


def service(schema: str, name: str, tenant_role: str | None = None, *, queue: str) -> Iterator[str]:
    """The schema of a worker, the role `name` it works as, and its role for statements on behalf of a tenant.

    Of the ledger, the role reaches the rows of `queue`.
    """
    names = [name] if tenant_role is None else [name, tenant_role]
    for each in names:
        yield from _role(each)
    yield f"CREATE SCHEMA IF NOT EXISTS {schema}"
    yield f"GRANT USAGE ON SCHEMA {schema} TO {', '.join(names)}"
    yield from ledger_of(queue, name)


def members_too(role: str, others: Sequence[str]) -> Iterator[str]:
    """Let whoever may work as each of `others` work as `role` too: one login for all workers, another owner."""
    yield _MEMBERS_TOO.format(role=role, others=" ".join(others))


def ledger_of(queue: str, role: str) -> Iterator[str]:
    """What a worker may do with the ledger: write how the jobs of `queue` go, and who works on them."""
    yield f"GRANT USAGE ON SCHEMA ledger TO {role}"
    yield f"REVOKE ALL ON ALL TABLES IN SCHEMA ledger FROM {role}"
    yield f"GRANT SELECT ON ledger.jobs, ledger.workers, ledger.queues TO {role}"
    yield f"GRANT DELETE ON ledger.workers TO {role}"
    for (table, privilege), columns in _WRITTEN.items():
        yield _GRANT_COLUMNS.format(table=table, privilege=privilege, columns=columns, role=role)
    for table in QUEUE_COLUMNS:
        yield from _policy(f"of_{role}", f"ledger.{table}", of_queue(queue, table), role)


def of_queue(queue: str, table: str = "jobs") -> str:
    """The condition that a row of this table of the ledger is of `queue`.

    It is "=" that no index supports, so plans are the same as without it: an index is not chosen because of it.
    """
    return f"{QUEUE_COLUMNS[table]} IS NOT DISTINCT FROM '{queue}'"


def table(name: str, role: str, tenant_role: str | None = None) -> Iterator[str]:
    """Grants and row-level security of the table `name` (with its schema), which has a column `tenant`.

    The service sees all rows, `tenant_role` those of the tenant in argosy.tenant, nobody else any.
    """
    yield f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
    yield f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO {', '.join(filter(None, (role, tenant_role)))}"
    yield from _policy("of_the_service", name, "true", role)
    yield from _policy("of_the_owner", name, "true", "CURRENT_USER")
    if tenant_role is not None:
        yield from _policy("of_the_tenant", name, _OF_THE_TENANT, tenant_role)


def may_read(columns: Sequence[str], tenant_role: str, *, queue: str) -> Iterator[str]:
    """Let a service read `columns` of jobs of its `queue`, on behalf of the tenant to whom they belong."""
    yield f"GRANT USAGE ON SCHEMA ledger TO {tenant_role}"
    yield f"REVOKE ALL ON ALL TABLES IN SCHEMA ledger FROM {tenant_role}"
    yield f"GRANT SELECT ({', '.join(columns)}) ON ledger.jobs TO {tenant_role}"
    rows = f"{_OF_THE_TENANT} AND {of_queue(queue)}"
    yield from _policy(f"of_{tenant_role}", "ledger.jobs", rows, tenant_role)


def publish(name: str, columns: Sequence[str], tenant_role: str) -> Iterator[str]:
    """Let a service read `columns` of the table `name`, which has a column `tenant`, on behalf of a tenant.

    What it could read of the table before, it no longer can.
    """
    yield f"GRANT USAGE ON SCHEMA {name.partition('.')[0]} TO {tenant_role}"
    yield f"REVOKE ALL ON {name} FROM {tenant_role}"
    yield f"GRANT SELECT ({', '.join(columns)}) ON {name} TO {tenant_role}"
    yield f"DROP POLICY IF EXISTS of_{tenant_role} ON {name}"
    yield f"CREATE POLICY of_{tenant_role} ON {name} FOR SELECT TO {tenant_role} USING ({_OF_THE_TENANT})"


def may_enqueue(role: str, queue: str, kind: str) -> Iterator[str]:
    """Let a service make jobs of this kind in another queue, by the function `ledger."queue:kind"`.

    It returns whether there is a new job: false if there was one with this id.
    """
    function = f'ledger."{queue}:{kind}"'
    yield from _role(ENQUEUER)
    yield from members_too(ENQUEUER, _OF_EVERY_OWNER)  # another owner could not make the function its
    yield f"GRANT USAGE ON SCHEMA ledger TO {ENQUEUER}"
    for table in ("jobs", "entries"):
        columns = _WRITTEN[table, "INSERT"]
        yield _GRANT_COLUMNS.format(table=table, privilege="INSERT", columns=columns, role=ENQUEUER)
        yield from _policy(f"of_{ENQUEUER}", f"ledger.{table}", "true", ENQUEUER)
    yield _ENQUEUE.format(function=function, arguments=_ENQUEUE_ARGUMENTS, queue=queue, kind=kind)
    yield f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC"
    yield f"GRANT EXECUTE ON FUNCTION {function} TO {role}"
    yield f"GRANT CREATE ON SCHEMA ledger TO {ENQUEUER}"  # only who may make one there can be given one
    yield f"ALTER FUNCTION {function} OWNER TO {ENQUEUER}"
    yield f"REVOKE CREATE ON SCHEMA ledger FROM {ENQUEUER}"


def fleet_schedule(queue: str, kind: str, cron: str) -> Iterator[str]:
    """Let a job of this kind, with the payload `{}`, run for the fleet whenever `cron` says, in UTC.

    Its tenant is `argosy`, which nobody can sign in as.
    """
    yield _FLEET_SCHEDULE.format(queue=queue, kind=kind, cron=cron)


def _policy(name: str, table: str, rows: str, role: str) -> Iterator[str]:
    yield f"DROP POLICY IF EXISTS {name} ON {table}"
    yield f"CREATE POLICY {name} ON {table} TO {role} USING ({rows}) WITH CHECK ({rows})"
