"""robots.txt, RFC 9309: honoured where pages for people are read, which is the format `jsonld` only.

It is kept with the host for a day. It is judged in the sandbox, as its patterns are somebody else's.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from protego import Protego

from libs.common.sandbox import Sandbox
from services.sync.following import Following
from services.sync.hosts import Hosts, host_of
from services.sync.outgoing import Request
from services.sync.refusals import RobotsRefuse, SourceUnavailable

AGENT = "Argosy"
BYTES_AT_MOST = 512 * 1024
KEPT_FOR = timedelta(days=1)
DELAY_AT_MOST_S = 60.0


async def delay_s(url: str, following: Following, hosts: Hosts, sandbox: Sandbox, into: Path) -> float:
    """How many seconds there must be between requests, if the page may be read at all.

    Raises RobotsRefuse; SourceUnavailable where the rules cannot be read; and what Following raises.
    """
    host = host_of(url)
    text, read_at = await hosts.robots(host)
    if text is None or read_at is None or datetime.now(UTC) - read_at > KEPT_FOR:
        text = await _fetched(url, following, into)
        await hosts.keep_robots(host, text)
    if not text:
        return 0.0
    allowed, delay = await sandbox.run(rules_for, text, url)
    if not allowed:
        raise RobotsRefuse
    return float(delay)


async def _fetched(url: str, following: Following, into: Path) -> str:
    parts = urlsplit(url)
    robots = f"{parts.scheme}://{parts.netloc}/robots.txt"
    answer = (await following.ask(Request(robots), into, own=robots, validators={})).answer
    if answer.status == 200:
        return _read(into)
    if 400 <= answer.status < 500:
        return ""
    raise SourceUnavailable(f"The source answered {answer.status} when it was asked for its robots.txt.")


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(BYTES_AT_MOST).decode("utf-8-sig", errors="replace").replace("\x00", "")


def rules_for(text: str, url: str) -> tuple[bool, float]:
    """Whether the page may be read, and how many seconds there must be between requests."""
    rules = Protego.parse(text)
    return rules.can_fetch(url, AGENT), min(float(rules.crawl_delay(AGENT) or 0), DELAY_AT_MOST_S)
