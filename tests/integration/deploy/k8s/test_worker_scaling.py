"""How many workers there are over time: manifests, ledger and scaling signal are real, clock and pods are not."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from types import SimpleNamespace

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from deploy.k8s.rendering import ENVIRONMENTS, Manifest, find, overlay, render
from libs.common.contracts.services import QUEUES
from libs.common.db import Database
from libs.common.ledger import claim, queues, requeueing
from libs.common.ledger.accept import accept
from libs.common.ledger.jobs import NewJob, new_id
from libs.common.ledger.picking import pick
from services.gateway.engine import scaling_signal
from services.gateway.engine.scaling_signal import ScalingSignal
from tests.integration.deploy.k8s.autoscaler import SYNC_EVERY_S, of_autoscaler, of_scaled_object
from tests.unit.deploy.k8s.trees import added, copied

PAGE_S = 5
"""How long a slot is busy with a page."""
HOUR_S = 3600
OUTAGE_S = 330
"""Longer than an autoscaler remembers what was needed before."""
LEAST = {"staging": 1, "production": 2}
TO_THE_MOST = {"staging": [(0, 5), (15, 10)], "production": [(0, 6), (15, 10)]}
"""All that is to be had, within two looks: four more, or twice as many."""
FIFTH_A_MINUTE = [8, 6, 4, 3, 2, 1]
Changes = list[tuple[int, int]]
"""Second and replicas from then on."""


@pytest.fixture(scope="module")
def scalers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], tuple[Manifest, Manifest]]:
    """The autoscaler of a worker in an environment, and KEDA's."""

    @cache
    def rendered(environment: str) -> tuple[list[Manifest], list[Manifest]]:
        tree = copied(tmp_path_factory.mktemp(environment))
        added(tree / "overlays" / environment / "kustomization.yaml", "components", "../../components/keda")
        return render(overlay(environment)), render(tree / "overlays" / environment)

    def found(environment: str, queue: str) -> tuple[Manifest, Manifest]:
        plain, with_keda = rendered(environment)
        return find(plain, "HorizontalPodAutoscaler", queue), find(with_keda, "ScaledObject", queue)

    return found


class Namespace:
    """A worker's pods in an environment, whose number two autoscalers decide: both must decide the same."""

    def __init__(self, database: Database, autoscaler: Manifest, scaled_object: Manifest) -> None:
        self.database = database
        self.now = 0
        self.changes: Changes = []
        self.gateways_there = True
        self.signal = ScalingSignal(QUEUES)
        self._metric = autoscaler["spec"]["metrics"][0]["external"]["metric"]
        self._place = scaled_object["spec"]["triggers"][0]["metadata"]["valueLocation"]
        self._slots = int(scaled_object["spec"]["triggers"][0]["metadata"]["targetValue"])
        self._plain, self._keda = of_autoscaler(autoscaler), of_scaled_object(scaled_object)

    async def pass_by(self, seconds: int, *, working: bool = True) -> None:
        """Let time pass. While `working`, each slot finishes a page every PAGE_S seconds."""
        until = self.now + seconds
        while self.now < until:
            before = self._plain.replicas
            await self.signal.go_round(self.database)
            replicas = self._plain.sync(self.now, self.measured())
            assert self._keda.sync(self.now, self.answered()) == replicas
            if replicas != before:
                self.changes.append((self.now, replicas))
            if working:
                await self._work(replicas * self._slots * SYNC_EVERY_S // PAGE_S)
            self.now += SYNC_EVERY_S

    def measured(self) -> float | None:
        """What an adapter has from the gateways' metrics."""
        if not self.gateways_there:
            return None
        return REGISTRY.get_sample_value(self._metric["name"], self._metric["selector"]["matchLabels"])

    def answered(self) -> float | None:
        """What KEDA reads from a gateway's answer."""
        answer = self.signal.answer()
        return json.loads(answer.body)[self._place] if self.gateways_there and answer.status == 200 else None

    async def _work(self, pages: int) -> None:
        await self.database.fetch(
            "DELETE FROM ledger.jobs WHERE id IN (SELECT id FROM ledger.jobs WHERE queue = $1 LIMIT $2)",
            self._place,
            pages,
        )


@pytest.fixture(params=ENVIRONMENTS)
def environment(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def namespace(
    environment: str,
    database: Database,
    scalers: Callable[[str, str], tuple[Manifest, Manifest]],
    monkeypatch: pytest.MonkeyPatch,
) -> Namespace:
    made = Namespace(database, *scalers(environment, "ocr"))
    monkeypatch.setattr(scaling_signal, "time", SimpleNamespace(monotonic=lambda: float(made.now)))
    return made


async def submit(database: Database, number: int, tenant: str = "dev", queue: str = "ocr") -> None:
    jobs = [NewJob(tenant, "key", queue, "page", b"{}") for _ in range(number)]
    await accept(database, jobs, ticketed=[False] * number)


def down(environment: str, begun: int) -> Changes:
    """A fifth less every minute, to the fewest of the environment."""
    steps = [replicas for replicas in FIFTH_A_MINUTE if replicas >= LEAST[environment]]
    return [(begun + 60 * number, replicas) for number, replicas in enumerate(steps)]


async def test_a_backlog_gets_all_workers_and_then_they_leave_slowly(
    namespace: Namespace, environment: str
) -> None:
    await submit(namespace.database, 10_000)
    await namespace.pass_by(HOUR_S)
    last_busy = 2490  # from 2505 on, what is left is little; from 2520 on, nothing
    assert namespace.changes == [*TO_THE_MOST[environment], *down(environment, last_busy + 300)]


async def test_a_short_lull_removes_nobody(namespace: Namespace, environment: str) -> None:
    await submit(namespace.database, 1_000)
    await namespace.pass_by(500)
    assert not await namespace.database.fetch("SELECT FROM ledger.jobs"), "there was a lull"
    await submit(namespace.database, 1_000)
    await namespace.pass_by(60)
    assert namespace.changes == TO_THE_MOST[environment]


async def test_a_paused_queue_keeps_the_workers_of_what_runs(namespace: Namespace, environment: str) -> None:
    await submit(namespace.database, 10_000)
    worker = new_id()
    await claim.register(namespace.database, worker, queue="ocr", slots=6, host="h", pid=1)
    ids, _ = await pick(namespace.database, "ocr", 6, await requeueing.demand(namespace.database, "ocr"))
    assert len(await claim.claim(namespace.database, worker, ids)) == 6
    await queues.pause(namespace.database, "ocr")
    await namespace.pass_by(HOUR_S, working=False)
    assert namespace.changes == [(0, 3)]
    await queues.resume(namespace.database, "ocr")
    await namespace.pass_by(60)
    assert namespace.changes == [(0, 3), (HOUR_S, 7), (HOUR_S + 15, 10)]


async def test_a_capped_tenant_gets_the_workers_of_its_cap(namespace: Namespace, environment: str) -> None:
    await queues.set_cap(namespace.database, "ocr", "max_running_per_tenant", 6)
    await submit(namespace.database, 10_000)
    await namespace.pass_by(600)
    assert namespace.changes == [(0, 3)]
    await submit(namespace.database, 10_000, "another")
    await namespace.pass_by(600)
    assert namespace.changes == [(0, 3), (600, 6)]


async def test_a_capped_queue_gets_the_workers_of_its_cap(namespace: Namespace, environment: str) -> None:
    await queues.set_cap(namespace.database, "ocr", "max_running", 7)
    await submit(namespace.database, 10_000)
    await namespace.pass_by(600)
    assert namespace.changes == [(0, 4)]


@asynccontextmanager
async def without_gateways(namespace: Namespace) -> AsyncIterator[None]:
    namespace.gateways_there = False
    yield
    namespace.gateways_there = True


@asynccontextmanager
async def without_an_answer_of_the_ledger(namespace: Namespace) -> AsyncIterator[None]:
    await namespace.database.fetch("ALTER TABLE ledger.queues RENAME TO away")
    with capture_logs():  # a traceback for each count
        yield
    await namespace.database.fetch("ALTER TABLE ledger.away RENAME TO queues")


FAULTS = [without_gateways, without_an_answer_of_the_ledger]


@pytest.mark.parametrize("fault", FAULTS)
async def test_without_a_number_of_the_last_half_minute_nobody_leaves(
    namespace: Namespace, environment: str, fault: Callable[[Namespace], AbstractAsyncContextManager[None]]
) -> None:
    await submit(namespace.database, 10_000)
    await namespace.pass_by(60)
    async with fault(namespace):
        await namespace.database.fetch("DELETE FROM ledger.jobs")
        await namespace.pass_by(OUTAGE_S)
        assert namespace.changes == TO_THE_MOST[environment]
    await namespace.pass_by(600)
    assert namespace.changes == [*TO_THE_MOST[environment], *down(environment, 60 + OUTAGE_S)]


@pytest.mark.parametrize("fault", FAULTS)
async def test_without_a_number_nobody_is_added(
    namespace: Namespace, environment: str, fault: Callable[[Namespace], AbstractAsyncContextManager[None]]
) -> None:
    await submit(namespace.database, 10_000)
    async with fault(namespace):
        await namespace.pass_by(120, working=False)
    assert namespace.changes == []


async def test_numbers_are_used_until_they_are_half_a_minute_old(namespace: Namespace) -> None:
    await submit(namespace.database, 2)
    await namespace.signal.go_round(namespace.database)
    async with without_an_answer_of_the_ledger(namespace):
        told = []
        for namespace.now in (15, 30, 31):
            await namespace.signal.go_round(namespace.database)
            told.append((namespace.measured(), namespace.answered()))
    assert told == [(2, 2), (2, 2), (None, None)]


@pytest.mark.parametrize("queue", QUEUES)
async def test_every_worker_follows_its_own_queue(
    database: Database, scalers: Callable[[str, str], tuple[Manifest, Manifest]], queue: str
) -> None:
    for other in QUEUES:
        await submit(database, 7 if other == queue else 1, queue=other)
    worker = Namespace(database, *scalers("staging", queue))
    await worker.pass_by(60, working=False)
    scaler = scalers("staging", queue)[1]["spec"]
    slots = int(scaler["triggers"][0]["metadata"]["targetValue"])
    assert worker.changes == [(0, min(-(-7 // slots), scaler["maxReplicaCount"]))]
