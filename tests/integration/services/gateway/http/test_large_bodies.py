"""Large bodies: others are served meanwhile, few are held at once, and their memory is given back."""

import asyncio
import json
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import httpx

from libs.common.db import Database
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import Role
from tests.integration.services.gateway.gateway import Gateway, assert_problem
from tests.integration.services.gateway.live import LiveGateway
from tests.polling import PATIENCE_S, until

LETTER: dict[str, Any] = {"from": "a@argosy.test", "subject": "s", "text": "t", "run_at": "2035-01-01T00:00:00Z"}
JSON = {"Content-Type": "application/json"}
MB = 1024 * 1024


def many_values(number: int, *, at_least: int = 0) -> bytes:
    """A letter with so many values and bytes."""
    variables = {"a": "HERE", "b": "x" * at_least}
    body = json.dumps(LETTER | {"recipients": [{"to": "b@one.test", "variables": variables}]})
    return body.replace('"HERE"', "[" + "[]," * number + "1]").encode()


def many_recipients() -> bytes:
    """The largest letter: twenty variables for each of 10,000 recipients."""
    variables = {f"v{number}": "x" * 90 for number in range(20)}
    return json.dumps(
        LETTER | {"recipients": [{"to": f"a{n}@one.test", "variables": variables} for n in range(10_000)]}
    ).encode()


def memory(gateway: LiveGateway, field: str) -> int:
    """Bytes, from /proc."""
    lines = Path(f"/proc/{gateway.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


async def others_meanwhile(url: str, letters: Awaitable[Any], at_least: int) -> Any:
    """The answers to `letters`, before which others have had theirs."""
    sending, served = asyncio.ensure_future(letters), 0
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as others:
        while not sending.done():
            assert (await others.get("/livez")).status_code == 200
            served += not sending.done()
    assert served >= at_least
    return sending.result()


async def test_no_body_stalls_the_others_and_its_memory_is_given_back(
    live: LiveGateway, database: Database
) -> None:
    key = (await issue(database, "dev", "dev", "test", Role.MEMBER)).key
    headers = {"Authorization": f"Bearer {key}", **JSON}
    async with httpx.AsyncClient(base_url=live.url, headers=headers, timeout=PATIENCE_S) as client:
        small = await client.post("/v1/mail", json=LETTER | {"to": ["b@one.test"]})
        assert small.status_code == 202, small.text
        before = memory(live, "VmRSS")
        for body, status in ((many_values(8_000_000), 413), (many_recipients(), 202)):
            sent = asyncio.gather(*(client.post("/v1/mail", content=body) for _ in range(3)))
            answers = await others_meanwhile(live.url, sent, at_least=10)
            assert [answer.status_code for answer in answers] == [status] * 3, answers[0].text
        assert memory(live, "VmHWM") - before < 500 * MB, "eight million objects alone are 500 MB, three times"

        async def is_given_back() -> bool:
            return memory(live, "VmRSS") - before < 60 * MB

        await until(is_given_back)


async def test_a_key_has_few_large_bodies_at_once(gateway: Gateway) -> None:
    operator, client = await gateway.client(operator=True), await gateway.client("acme")
    await operator.put("/v1/tenants/acme/limits", json={"limits": {"large-bodies": "2 at once"}})
    large, small = many_values(1, at_least=MB), many_values(1)
    answers = await asyncio.gather(*(client.post("/v1/mail", content=large, headers=JSON) for _ in range(6)))
    refused = [answer for answer in answers if answer.status_code != 202]
    assert refused
    for answer in refused:
        assert assert_problem(answer, 429, "limit-exceeded")["violated-policies"] == ["large-bodies"]
    assert (await client.post("/v1/mail", content=large, headers=JSON)).status_code == 202, "there is room again"
    answers = await asyncio.gather(*(client.post("/v1/mail", content=small, headers=JSON) for _ in range(6)))
    assert {answer.status_code for answer in answers} == {202}


async def test_a_body_of_unknown_length_is_counted_as_it_grows(gateway: Gateway) -> None:
    operator, client = await gateway.client(operator=True), await gateway.client("acme")
    await operator.put("/v1/tenants/acme/limits", json={"limits": {"large-bodies": "1 at once"}})
    has_grown, ends = asyncio.Event(), asyncio.Event()

    async def trickle() -> Any:
        yield b" " * (MB + 1)
        has_grown.set()
        await ends.wait()
        yield many_values(1)

    first = asyncio.create_task(client.post("/v1/mail", content=trickle(), headers=JSON))
    await has_grown.wait()
    body = many_values(1, at_least=MB)
    assert_problem(await client.post("/v1/mail", content=body, headers=JSON), 429, "limit-exceeded")
    ends.set()
    assert (await first).status_code == 202


async def test_a_letter_that_waits_for_its_end_holds_no_room(gateway: Gateway) -> None:
    operator, client = await gateway.client(operator=True), await gateway.client("acme")
    await operator.put("/v1/tenants/acme/limits", json={"limits": {"large-bodies": "1 at once"}})
    large = many_values(1, at_least=MB)
    waiting = asyncio.create_task(client.post("/v1/mail", content=large, headers=JSON | {"Prefer": "wait=60"}))

    async def is_taken() -> bool:
        return bool((await client.get("/v1/jobs")).json()["jobs"])

    await until(is_taken)
    assert (await client.post("/v1/mail", content=large, headers=JSON)).status_code == 202
    assert not waiting.done()
    job = (await client.get("/v1/jobs")).json()["jobs"][-1]["id"]
    await client.post(f"/v1/jobs/{job}/cancel")
    assert (await waiting).status_code == 200
