"""Plans of the statements on the way of each job: they look up ids, and the policy of a queue costs nothing."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from libs.common import db
from libs.common.config import DatabaseSettings
from libs.common.contracts.services import OCR, Role
from libs.common.db import Database
from libs.common.ledger import claim, finish, flows, sharing
from libs.common.ledger.finish import Outcome
from libs.common.ledger.flows import NewChild
from libs.common.ledger.jobs import State, new_id

ROLES = (None, Role.WORKER, OCR.role)
"""The owner, who sees everything without a policy; a worker of all queues; and a worker of one."""
IDS = [new_id() for _ in range(3)]
WORKER = new_id()
STATEMENTS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "register": (claim._REGISTER, (WORKER, "ocr", 1, "host", 1)),
    "claim": (claim._CLAIM, (IDS, WORKER)),
    "heartbeat": (claim._HEARTBEAT, (WORKER,)),
    "held": (claim._HELD, (WORKER,)),
    "progress": (claim._PROGRESS, (IDS, [1, 1, 1], ["{}"] * 3, WORKER)),
    "deregister": (claim.REMOVE_WORKERS.format(which="id = $1"), (WORKER,)),
    "finish": (
        finish._FINISH,
        (*finish._OUTCOMES.arrays([Outcome(job, 1, State.SUCCEEDED) for job in IDS]), WORKER),
    ),
    "finish_and_forget": (
        finish._FINISH_AND_FORGET,
        (*finish._OUTCOMES.arrays([Outcome(IDS[0], 1, State.SUCCEEDED)]), WORKER),
    ),
    "fan_out": (
        flows._FAN_OUT,
        (IDS[0], 1, WORKER, *flows._CHILDREN_MADE.arrays([NewChild("page", b"{}")]), "{}"),
    ),
    "wake": (flows._WAKE_ONE, (IDS[0],)),
    "children": (flows._CHILDREN, (IDS[0],)),
}
BY_ID: dict[str, tuple[str, tuple[Any, ...]]] = {
    name: STATEMENTS[name] for name in ("claim", "progress", "finish", "finish_and_forget", "fan_out", "wake")
}
BY_ID["ask_to_give_way"] = (sharing._ASK, (IDS, [1, 1, 1]))
"""Those that name the jobs they change. The last one is the gateway's."""
SHOWN = ("Node Type", "Join Type", "Index Name", "Relation Name", "Operation", "Parent Relationship", "Index Cond",
         "Subplan Name", "Scan Direction")  # fmt: skip
FILL = """
INSERT INTO ledger.jobs (id, tenant, created_by, queue, kind, state, priority, rank, payload, tags, max_attempts,
  timeout_s, due_at, ticketed_at, worker, finished_at, parent)
SELECT gen_random_uuid(), 't' || n % 7, 'key', (ARRAY['ocr', 'mailer'])[1 + n % 2], 'k', state, 'normal', now(),
  '{}', '[]', 1, 1, now(), CASE WHEN state = 'queued' AND n % 3 = 0 THEN now() END,
  CASE WHEN state = 'running' THEN gen_random_uuid() END, CASE WHEN state = 'succeeded' THEN now() END,
  CASE WHEN n % 5 = 0 THEN gen_random_uuid() END
FROM generate_series(1, 20000) n,
  LATERAL (SELECT coalesce((ARRAY['queued', 'running', 'waiting'])[n % 6], 'succeeded')) s (state)
"""


@pytest.fixture(params=["empty", "large", "large and known"])
async def ledger(request: pytest.FixtureRequest, database: Database) -> str:
    """Plans must not depend on how much there is, nor on whether it is known."""
    if request.param != "empty":
        await database.fetch(FILL)
    if request.param == "large and known":
        await database.fetch("ANALYZE ledger.jobs")
    return str(request.param)


@pytest.fixture
async def as_each(database_settings: DatabaseSettings) -> AsyncIterator[list[Database]]:
    async with (
        db.connect(database_settings, "owner", role=ROLES[0]) as owner,
        db.connect(database_settings, "worker", role=ROLES[1]) as worker,
        db.connect(database_settings, "ocr", role=ROLES[2]) as ocr,
    ):
        yield [owner, worker, ocr]


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
async def test_the_statements_of_a_worker_are_planned_alike_for_each_role(
    as_each: list[Database], mode: str
) -> None:
    for name, (sql, values) in STATEMENTS.items():
        shapes = [await shape(database, mode, sql, values) for database in as_each]
        assert "jobs_" in str(shapes) or "jobs" not in sql, name
        assert shapes[1] == shapes[0], name
        assert shapes[2] == shapes[0], name


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("name", BY_ID)
async def test_jobs_that_are_named_are_found_by_their_ids(database: Database, mode: str, name: str) -> None:
    (update,) = [
        node
        for node in await plan(database, mode, *BY_ID[name])
        if node["Node Type"] == "ModifyTable" and node["Operation"] == "Update"
    ]
    changed = (update["Relation Name"], update["Alias"])
    scans = [node for node in nodes(update) if (node.get("Relation Name"), node.get("Alias")) == changed]
    found = [node for scan in scans if scan is not update for node in nodes(scan)]
    assert {node["Index Name"] for node in found if "Index Name" in node} == {"jobs_pkey"}


async def shape(database: Database, mode: str, sql: str, values: tuple[Any, ...]) -> list[dict[str, str]]:
    """What the nodes of the plan do, from the top, without costs and filters."""
    for node in (found := await plan(database, mode, sql, values)):
        # The queue is not in the index: it is read from the row.
        node["Node Type"] = node["Node Type"].replace("Index Only Scan", "Index Scan")
    return [{key: node[key] for key in SHOWN if key in node} for node in found]


async def plan(database: Database, mode: str, sql: str, values: tuple[Any, ...]) -> list[dict[str, Any]]:
    """The nodes of the plan, from the top."""
    async with database.begin() as connection:
        await db.fetch_within(connection, f"SET LOCAL plan_cache_mode = {mode}")
        ((document,),) = await db.fetch_within(connection, f"EXPLAIN (COSTS OFF, FORMAT JSON) {sql}", *values)
    return list(nodes(document[0]["Plan"]))


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)
