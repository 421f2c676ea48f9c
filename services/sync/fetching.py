"""Fetches one page of a source: from what is asked to a file with its records, or to a typed refusal."""

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from uuid import uuid4

from libs.common.contracts.sync import Format, NoPaging, SourceSpec
from libs.common.db import Database
from libs.common.sandbox import Limits, Refusals, Sandbox
from services.sync import robots
from services.sync.config import Settings
from services.sync.following import Followed, Following
from services.sync.freshness import fresh_until
from services.sync.hosts import Hosts
from services.sync.outgoing import Answer, Caps, outgoing
from services.sync.page import Ask, NotModified, Page, Pages, Validators
from services.sync.paging import PageFacts, next_position, request_of
from services.sync.reading import page_reading
from services.sync.reading.answers import About
from services.sync.reading.page_reading import Read
from services.sync.refusals import (
    ReadingCrashed,
    ReadingTooSlow,
    SourceMissing,
    SourceRefused,
    SourceStopped,
    SourceUnavailable,
    TooLarge,
    UnreadableBody,
)

LINES_BYTES_AT_MOST = 1024**3
"""What the sandboxed process may write of one answer."""


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Fetches and reads pages. `folder`: for files of this process; those of `Page.lines` are in it."""

    following: Following
    hosts: Hosts
    sandbox: Sandbox
    folder: Path

    async def fetch(self, ask: Ask) -> Page | NotModified:
        """Fetch a page, and read and map its records in the sandbox.

        Raises Wait; AddressRefused, RobotsRefuse, SourceMissing, SourceRefused, SourceStopped, UnreadableBody,
        TooLarge, PagingLoops, MappingFitsBadly, ReadingCrashed, ReadingTooSlow; SourceUnavailable, SourceTooSlow.
        """
        request = request_of(ask.spec, ask.headers, ask.position, ask.bookmark)
        is_whole = isinstance(ask.spec.paging, NoPaging)  # else the first page says nothing of the others
        validators = ask.validators if is_whole else {}
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            body = Path(name) / "body"
            gap_s = 0.0
            if ask.spec.format is Format.JSONLD:
                gap_s = await robots.delay_s(request.url, self.following, self.hosts, self.sandbox, body)
            followed = await self.following.ask(
                request, body, own=ask.spec.url, validators=validators, gap_s=gap_s
            )
            answer = followed.answer
            if answer.status == 304:
                return _not_modified(ask, answer, validators)
            _refuse(answer)
            lines, read = await self._read(ask.spec, body, answer)
        try:
            return _page(ask, followed, lines, read)
        except BaseException:
            lines.unlink()
            raise

    async def map_anew(self, spec: SourceSpec, kept: Path) -> Path:
        """Map records that were kept, a line of JSON each. Returns the file of lines; the caller removes it."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            into = Path(name)
            sandbox = self.sandbox.reading(kept).writing(into)
            await sandbox.run(page_reading.map_anew, spec.model_dump_json(), kept, into / "lines")
            return self._kept(into / "lines")

    async def _read(self, spec: SourceSpec, body: Path, answer: Answer) -> tuple[Path, Read]:
        about = About(answer.url, answer.headers.get("content-type", ""))
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            into = Path(name)
            sandbox = self.sandbox.reading(body).writing(into)
            read = await sandbox.run(page_reading.read, spec.model_dump_json(), body, about, into / "lines")
            return self._kept(into / "lines"), _checked(read)

    def _kept(self, lines: Path) -> Path:
        """Move a file out of the folder that the sandboxed process could write."""
        kept = self.folder / f"{uuid4().hex}.jsonl"
        os.replace(lines, kept)
        return kept


@asynccontextmanager
async def fetching(settings: Settings, database: Database) -> AsyncIterator[Pages]:
    """Open what fetches pages, while the block runs."""
    sandbox = Sandbox(
        Limits(settings.sync_memory_mb << 20, settings.sync_read_timeout_s, LINES_BYTES_AT_MOST),
        Refusals(ReadingTooSlow, TooLarge, ReadingCrashed, TooLarge),
        package="services.sync",
        preload=["services.sync.reading.page_reading", "services.sync.robots"],
    )
    hosts = Hosts(database, gap_s=settings.sync_host_gap_s)
    caps = Caps(total_s=settings.sync_fetch_timeout_s)
    agent = user_agent(settings.sync_contact_url)
    with tempfile.TemporaryDirectory(prefix="argosy-sync-") as folder:
        async with outgoing(agent, allowed=settings.allowed_networks, caps=caps) as client:
            yield Fetcher(Following(client, hosts), hosts, sandbox, Path(folder))


def user_agent(contact_url: str | None) -> str:
    """Who calls, and where a webmaster learns more."""
    try:
        number = version("argosy")
    except PackageNotFoundError:  # it is run from its source
        number = "0"
    return f"{robots.AGENT}/{number}" + (f" (+{contact_url})" if contact_url else "")


def _refuse(answer: Answer) -> None:
    """Raises what an answer means that is no page."""
    match answer.status:
        case 200:
            return
        case 404:
            raise SourceMissing
        case 410:
            raise SourceStopped
        case status if 400 <= status < 500:
            raise SourceRefused(f"The source answered {status}.")
        case status:
            raise UnreadableBody(f"The source answered {status}, without a page.")


def _not_modified(ask: Ask, answer: Answer, validators: dict[str, Validators]) -> NotModified:
    had = validators.get(answer.url)
    if had is None:
        raise SourceUnavailable("The source says that nothing has changed, and was not asked whether.")
    got = _validators(answer)
    kept = Validators(got.etag or had.etag, got.last_modified or had.last_modified)
    until = fresh_until(answer.headers, datetime.now(UTC), interval_s=ask.spec.min_interval_s)
    return NotModified(answer.url, until, kept)


def _validators(answer: Answer) -> Validators:
    return Validators(answer.headers.get("etag"), answer.headers.get("last-modified"))


def _checked(read: Read) -> Read:
    """What the sandboxed process says, if it can be. Raises ReadingCrashed."""
    numbers = (read.records, read.refused, *read.skip_hours, 0 if read.ttl_s is None else read.ttl_s)
    if not all(isinstance(number, int) and number >= 0 for number in numbers) or not isinstance(read.digest, str):
        raise ReadingCrashed
    return read


def _page(ask: Ask, followed: Followed, lines: Path, read: Read) -> Page:
    answer = followed.answer
    facts = PageFacts(answer.url, read.records, read.digest, read.told, answer.headers)
    until = fresh_until(
        answer.headers,
        datetime.now(UTC),
        ttl_s=read.ttl_s,
        skip_hours=read.skip_hours,
        interval_s=ask.spec.min_interval_s,
    )
    return Page(
        url=answer.url,
        lines=lines,
        next=next_position(ask.spec.paging, ask.position, facts),
        validators=_validators(answer),
        fresh_until=until,
        moved_to=followed.moved_to if not ask.position else None,
        wire_bytes=answer.wire_bytes,
    )
