"""/livez and /readyz on the public port."""

from math import inf
from pathlib import Path

import httpx
import pytest

from deploy.local.test_servers import Trio
from services.gateway.endpoints.health import DISPATCHED_WITHIN_S
from services.gateway.engine.dispatcher import Dispatcher
from tests.integration.services.gateway.gateway import Gateway
from tests.integration.services.gateway.live import serving
from tests.polling import until
from tests.server_process import ServerProcess

FACTS = {
    "version": "unknown",
    "postgres": True,
    "redis": True,
    "redis_eviction": "noeviction",
    "nats": True,
    "storage": True,
    "limits": "shared",
}


async def test_ready_says_what_is_there(gateway: Gateway) -> None:
    async def all_are_there() -> bool:
        """Soon: a busy machine may take more than 200 ms to answer."""
        answer = await gateway.anonymous().get("/readyz")
        facts = answer.json()
        last_success_s = facts.pop("dispatcher")["last_success_s"]
        assert facts.keys() == {"ready", *FACTS}
        assert facts["ready"] is (answer.status_code == 200)
        assert last_success_s is None or last_success_s >= 0
        return bool(facts == {"ready": True, **FACTS} and last_success_s < DISPATCHED_WITHIN_S)

    await until(all_are_there)
    assert (await gateway.anonymous().get("/livez")).text == "ok\n"
    assert (await gateway.anonymous().get("/metrics")).status_code == 404


@pytest.mark.parametrize(
    ("last_success_s", "told", "status"), [(14.9, 14, 200), (15.0, 15, 503), (inf, None, 503)]
)
async def test_ready_is_who_has_handed_out_jobs_lately(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, last_success_s: float, told: int | None, status: int
) -> None:
    monkeypatch.setattr(Dispatcher, "last_success_s", last_success_s)
    answer = await gateway.anonymous().get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (status, status == 200)
    assert answer.json()["dispatcher"] == {"last_success_s": told}


async def test_a_frozen_redis_is_told_and_does_not_make_a_gateway_unready(
    servers: Trio, database_url: str, redis_server: ServerProcess, tmp_path: Path
) -> None:
    async with (
        serving(servers, database_url, tmp_path, REDIS_URL=redis_server.server.urls["gateway"]) as (live,),
        httpx.AsyncClient(timeout=60, base_url=live.url) as client,
    ):

        async def redis(answers: bool) -> bool:
            answer = await client.get("/readyz")
            assert answer.status_code == 200
            return answer.json()["redis"] is answers

        await until(lambda: redis(True))
        with redis_server.frozen():
            await until(lambda: redis(False))
        await until(lambda: redis(True))
