"""The whole API against its own description: schemathesis finds no call that it does not answer as it says.

Every operation with few drawn examples; `make fuzz` draws more.
"""

import asyncio
import os
import sys
from pathlib import Path

import httpx
import pytest

from deploy.local.test_servers import Trio
from libs.common.bus import Bus
from libs.common.config import DatabaseSettings
from libs.common.contracts.ids import parse_id
from libs.common.db import Database
from libs.common.ledger import claim as leases
from libs.common.ledger.finish import Outcome, finish
from libs.common.ledger.jobs import State, new_id
from services.gateway.config import TokenSettings
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import OPERATOR, ROLES, Role
from services.gateway.identity.tokens import Identity, Tokens
from tests import analysing, syncing
from tests.integration.services.gateway.gateway import upload
from tests.integration.services.gateway.live import ROOT, LiveGateway, serving
from tests.mailing import mailing
from tests.relay import Relay

SECRET = "a secret of the tests, and of nobody else"  # noqa: S105
EXAMPLES = int(os.environ.get("TEST_EXAMPLES", "5"))
"""For each operation, beside the examples and the boundary values that the schemas themselves give."""


@pytest.mark.long
async def test_every_operation_keeps_its_word(
    servers: Trio,
    database_settings: DatabaseSettings,
    database_url: str,
    database: Database,
    mail_database: Database,
    nats_bus: Bus,
    tmp_path: Path,
) -> None:
    key = (await issue(database, "dev", "dev", "fuzz", Role.ADMIN, scopes=ROLES[Role.ADMIN] | OPERATOR)).key
    async with serving(servers, database_url, tmp_path, TOKEN_SECRET=SECRET, OCR_SECRET=SECRET) as (gateway,):
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(timeout=60, base_url=gateway.url, headers=headers) as client:
            document, ended = [(await client.post("/v1/ocr", **upload())).json()["id"] for _ in range(2)]
        await succeed(database, ended)
        known = {"FUZZ_DOCUMENT": document, "FUZZ_ENDED": ended, "FUZZ_SOURCE": "fuzz"}
        async with (
            mailing(mail_database, database, nats_bus, servers, tmp_path, Relay()) as mailer,
            mailer.answering(),
            analysing.answering(database_settings, nats_bus, tmp_path),
            syncing.answering(database_settings, nats_bus, tmp_path / "sync"),
        ):
            source = {"url": "https://example.org/feed.xml", "format": "feed"}
            async with httpx.AsyncClient(timeout=60, base_url=gateway.url, headers=headers) as client:
                assert (await client.put("/v1/sources/fuzz", json=source)).status_code == 200
            await fuzz(gateway, key, "--exclude-path-regex", "/v1/keys|/v1/auth", **known)
        # Keys are fuzzed with a token, which nothing that the fuzzer does to keys can end.
        settings = TokenSettings.model_validate({"token_secret": SECRET})
        token = Tokens(settings, "dev").issue(Identity("fuzz", "dev", Role.ADMIN))
        await fuzz(gateway, token, "--include-path-regex", "/v1/keys|/v1/auth", **known)
        assert b'"level":"error"' not in gateway.log.read_bytes(), "no bug behind an answer"


async def succeed(database: Database, job: str) -> None:
    """Let a job have been done: the fuzzer can neither cancel nor retry it."""
    job_id, worker = parse_id(job), new_id()
    assert job_id is not None
    await leases.register(database, worker, queue="ocr", slots=1, host="h", pid=1)
    await database.fetch("UPDATE ledger.jobs SET ticketed_at = coalesce(ticketed_at, now()) WHERE id = $1", job_id)
    await leases.claim(database, worker, [job_id])
    assert await finish(database, worker, [Outcome(job_id, 1, State.SUCCEEDED)]) == [True]


async def fuzz(gateway: LiveGateway, credential: str, *options: str, **environment: str) -> None:
    hooks = {
        "FUZZ_CREDENTIAL": credential,
        "SCHEMATHESIS_HOOKS": "tests.integration.services.gateway.fuzzing",
        "PYTHONPATH": str(ROOT),
    }
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{gateway.url}/openapi.json",
        "--checks", "all", "--seed", "1", "--request-timeout", "120",  # by default 10 s, on a machine of any speed
        "--max-examples", str(EXAMPLES), "--no-color", *options,
        cwd=gateway.log.parent, env={**os.environ, **hooks, **environment},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    print(output.decode()[-700:])
