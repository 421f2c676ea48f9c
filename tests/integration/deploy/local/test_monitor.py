"""Prometheus runs beside processes whose ports nobody told it, with rules that it can evaluate."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from deploy.local.monitor import watching, write_targets
from tests.polling import until

PROCESS = """
import asyncio
from libs.common import probes
from libs.common.config import ProbeSettings

async def serve():
    async with probes.serving(ProbeSettings.model_validate({"probes_port": 0}), lambda: True):
        await asyncio.sleep(600)

asyncio.run(serve())
"""


@contextmanager
def process_with_metrics() -> Iterator[int]:
    """A process that listens at a port of its choice: its pid."""
    process = subprocess.Popen([sys.executable, "-c", PROCESS])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


async def test_processes_are_found_scraped_and_judged(tmp_path: Path) -> None:
    with process_with_metrics() as pid, watching(tmp_path) as addresses:
        async with httpx.AsyncClient(base_url=addresses["prometheus"]) as client:

            async def asked(question: str) -> list[Any]:
                answer = await client.get("/api/v1/query", params={"query": question})
                return list(answer.json()["data"]["result"])

            async def scraped() -> bool:
                write_targets(tmp_path, {"gateway": [pid], "ocr": [2**22 + 1]})
                return [one["value"][1] for one in await asked('up{service="gateway", namespace="local"}')] == [
                    "1"
                ]

            await until(scraped)
            assert await asked('{__name__=~"argosy_.+", service="gateway"}')
            assert await asked('up{service="ocr"}') == [], "a process that has ended is no target"

            async def evaluated() -> bool:
                groups = (await client.get("/api/v1/rules")).json()["data"]["groups"]
                rules = [rule for group in groups for rule in group["rules"]]
                assert not [rule["lastError"] for rule in rules if rule.get("lastError")]
                return len(rules) > 40 and all(rule["health"] == "ok" for rule in rules)

            await until(evaluated)

    assert not await reachable(addresses["prometheus"]), "it ends with the block"


async def reachable(address: str) -> bool:
    try:
        async with httpx.AsyncClient() as client:
            await client.get(address)
    except httpx.TransportError:
        return False
    return True
