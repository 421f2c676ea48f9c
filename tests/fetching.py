"""Fetching from servers of this machine, without pauses."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from libs.common.contracts.sync import SourceSpec
from libs.common.db import Database
from services.sync.config import Settings
from services.sync.fetching import fetching
from services.sync.page import Ask, Line, NotModified, Page, Pages, Position, Validators
from tests.scripted_source import ScriptedSource

AGENT_PAGE = "https://argosy.test/bot"


@asynccontextmanager
async def fetching_here(database: Database, **settings: Any) -> AsyncIterator[Pages]:
    """What may ask this machine, at any port."""
    needed = {
        "database_url": "postgresql://unused/",
        "nats_url": "nats://unused",
        "blob_url": "file:///unused",
        "sync_secret": "s" * 32,
        "sync_allowed_networks": "127.0.0.0/8",
        "sync_host_gap_s": 0,
        "sync_contact_url": AGENT_PAGE,
        "sandbox_confinement": "if-available",
    }
    async with fetching(Settings.model_validate(needed | settings), database) as pages:
        yield pages


def ask_of(
    source: ScriptedSource | str,
    *,
    headers: dict[str, str] | None = None,
    position: Position | None = None,
    validators: dict[str, Validators] | None = None,
    bookmark: str | None = None,
    **spec: Any,
) -> Ask:
    """A question to `source`; without more, for its feed."""
    url = source if isinstance(source, str) else f"{source.url}/feed"
    whole = SourceSpec.model_validate({"url": url, "format": "feed"} | spec)
    return Ask("acme", whole, headers or {}, position or {}, validators or {}, bookmark)


def lines_of(page: Page | NotModified) -> list[Line]:
    """What is in the file of a page, which is removed."""
    assert isinstance(page, Page)
    lines = [Line.model_validate_json(line) for line in page.lines.read_bytes().splitlines()]
    page.lines.unlink()
    return lines
