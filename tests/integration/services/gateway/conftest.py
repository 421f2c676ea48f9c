"""The gateway that every test here is given, and the workers behind it that some ask for.

A test whose name begins with `s` and a number proves the defence against a threat of the security table:
S2 a revoked key · S3 rotation · S4 scopes · S5 another tenant's things · S7 extra fields · S8, S9 tokens ·
S10 forged addresses · S11 guessed passwords · S12 slow and large requests · S13 compressed bodies · S21, S22 what
is logged and what is told · S23 smuggling · S24 headers and CORS · S25 streams · S27 what is public · S28 failing
closed · S29 the last place, taken once. S6 is in tests/integration/libs/common/test_isolation.py.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local.test_servers import Trio
from libs.common.blobs import Blobs
from libs.common.bus import Bus
from libs.common.config import BlobSettings, DatabaseSettings
from libs.common.db import Database
from services.gateway.app import create_app
from services.gateway.config import Settings
from tests import exporting, searching, syncing
from tests.analysing import counting
from tests.exporting import LINK_SECRET
from tests.integration.services.gateway.gateway import LIMIT, Gateway
from tests.integration.services.gateway.live import LiveGateway, serving
from tests.limits import NO_LIMITS
from tests.mailing import Mailer, mailing
from tests.relay import Relay
from tests.searching import Library
from tests.syncing import Syncer


@pytest.fixture
async def gateway(servers: Trio, database_url: str, database: Database, tmp_path: Path) -> AsyncIterator[Gateway]:
    settings = Settings.model_validate(
        {
            "database_url": database_url,
            "redis_url": servers.redis.urls["gateway"],
            "nats_url": servers.nats.url,
            "blob_url": (tmp_path / "blobs").as_uri(),
            "probes_port": 0,
            "limits_budget_ms": 1000,
            "gateway_max_upload_bytes": 1_000_000,
            "limits": f"{NO_LIMITS}, ocr={LIMIT}/h",
            "token_secret": "a secret of the tests, and of nobody else",
            "link_secret": LINK_SECRET,
            "key_secret": "another secret of the tests, for keys",
            "ocr_secret": "one more secret of the tests, for passwords",
        }
    )
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield Gateway(app, database, tmp_path / "blobs")


@pytest.fixture
async def live(servers: Trio, database_url: str, tmp_path: Path) -> AsyncIterator[LiveGateway]:
    """A process of its own, without limits on requests."""
    async with serving(servers, database_url, tmp_path, LIMITS="ip=off, burst=off, api=off, search=off") as (one,):
        yield one


@pytest.fixture
async def mailer(
    gateway: Gateway, mail_database: Database, nats_bus: Bus, servers: Trio, relay: Relay
) -> AsyncIterator[Mailer]:
    async with (
        mailing(mail_database, gateway.database, nats_bus, servers, gateway.folder, relay) as made,
        made.at_work(),
    ):
        made.blobs = Blobs(BlobSettings.model_validate({"blob_url": gateway.folder.as_uri()}))
        yield made


@pytest.fixture
async def library(gateway: Gateway, database_settings: DatabaseSettings, nats_bus: Bus) -> AsyncIterator[Library]:
    """Opportunities of a tenant, and a sync worker that answers."""
    async with searching.answering(database_settings, nats_bus, gateway.folder) as deps:
        yield Library(deps.database, "dev")


@pytest.fixture
async def analytics(gateway: Gateway, database_settings: DatabaseSettings, nats_bus: Bus) -> AsyncIterator[None]:
    """An analytics worker that counts and answers."""
    async with counting(database_settings, nats_bus, gateway.folder):
        yield


@pytest.fixture
async def syncer(gateway: Gateway, database_settings: DatabaseSettings, nats_bus: Bus) -> AsyncIterator[Syncer]:
    """A sync worker that answers and does jobs."""
    async with syncing.at_work(database_settings, nats_bus, gateway.folder / "sync") as made:
        yield made


@pytest.fixture
async def exporter(
    request: pytest.FixtureRequest, gateway: Gateway, database_settings: DatabaseSettings, nats_bus: Bus
) -> AsyncIterator[None]:
    """An exporter that writes files. Settings may be given as its parameter."""
    given = {"public_url": "http://gateway"} | getattr(request, "param", {})
    async with exporting.at_work(database_settings, nats_bus, gateway.folder, **given):
        yield
