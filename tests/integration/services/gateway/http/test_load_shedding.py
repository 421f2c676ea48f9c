"""Too much to do, and gateways that come and go: nobody is dropped, and status works to the last."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from deploy.local.test_servers import Trio
from libs.common.db import Database
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import Role
from tests.integration.services.gateway.gateway import Gateway, assert_problem, upload
from tests.integration.services.gateway.live import LiveGateway, serving
from tests.polling import until


async def test_status_and_cancel_work_while_submits_are_shed(gateway: Gateway) -> None:
    client = await gateway.client()
    path = (await client.post("/v1/ocr", **upload())).headers["location"]
    gateway.app.state.load_shedder._late_s = 60.0
    problem = await client.post("/v1/ocr", **upload())
    assert_problem(problem, 503, "overloaded")
    assert problem.headers["retry-after"] == "1"
    gateway.app.state.load_shedder._late_s = 60.0
    assert (await client.get(path)).status_code == 200
    assert (await client.post(f"{path}/cancel")).status_code == 200


class Balancer:
    """A client that keeps to gateways that say they are ready, as a load balancer does."""

    def __init__(self, gateways: list[LiveGateway], key: str) -> None:
        self._gateways = gateways
        # Idle connections are given up before the gateway does so (5 s): a request could cross the end of one.
        idle = httpx.Limits(keepalive_expiry=1.0)
        self._client = httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=60, limits=idle)
        self._probing = httpx.AsyncClient(timeout=60)
        self._ready = set(gateways)
        self.codes: list[int] = []
        self.accepted: set[str] = set()
        self.over = False

    async def probe(self, gateway: LiveGateway) -> None:
        """Ask it all the time whether it is ready."""
        while not self.over:
            try:
                ready = (await self._probing.get(f"{gateway.url}/readyz")).status_code == 200
            except httpx.TransportError:
                ready = False
            (self._ready.add if ready else self._ready.discard)(gateway)
            await asyncio.sleep(0.05)

    async def call(self, turn: int) -> None:
        """Submit and list, as fast as answers come."""
        while not self.over:
            gateway = sorted(self._ready, key=lambda one: one.port)[turn % len(self._ready)]
            turn += 1
            answer = await self._client.post(f"{gateway.url}/v1/ocr", **upload())
            self.codes.append(answer.status_code)
            self.accepted.add(answer.json()["id"])
            self.codes.append((await self._client.get(f"{gateway.url}/v1/jobs?limit=1")).status_code)

    async def sees(self, gateway: LiveGateway) -> None:
        """Wait until it knows that `gateway` is ready. The next one may go only then: none would be left."""

        async def seen() -> bool:
            return gateway in self._ready

        await until(seen)

    async def serves(self, more: int) -> None:
        """Wait until that many more answers have come."""
        enough = len(self.codes) + more

        async def served() -> bool:
            return len(self.codes) >= enough

        await until(served)

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """Eight callers while the block runs; each ends with its last answer, and none may fail."""
        async with self._client, self._probing, asyncio.TaskGroup() as group:
            for part in (*map(self.probe, self._gateways), *map(self.call, range(8))):
                group.create_task(part)
            try:
                yield
            finally:
                self.over = True


@pytest.mark.long
async def test_a_rolling_restart_fails_nobody(
    servers: Trio, database_url: str, database: Database, tmp_path: Path
) -> None:
    key = (await issue(database, "dev", "dev", "load", Role.MEMBER)).key
    async with serving(
        servers,
        database_url,
        tmp_path,
        number=2,
        GATEWAY_DRAIN_S="15",
        SHUTDOWN_GRACE_S="30",
        TERMINATION_GRACE_S="60",
    ) as gateways:
        balancer = Balancer(gateways, key)
        async with balancer.calling():
            for gateway in gateways * 2:
                await balancer.serves(50)
                await gateway.restart()
                await balancer.sees(gateway)
            await balancer.serves(50)
    assert set(balancer.codes) == {200, 202}
    rows = await database.fetch("SELECT count(*) FROM ledger.jobs")
    assert rows[0][0] == len(balancer.accepted)
