"""One question to a source, over all its redirects: each hop waits for its own host, and is checked by itself."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urljoin

from services.sync.addresses import check_url, origin_of
from services.sync.freshness import retry_after
from services.sync.hosts import Hosts, host_of
from services.sync.outgoing import Answer, Outgoing, Request
from services.sync.page import Validators
from services.sync.refusals import AddressRefused, SourceUnavailable, Wait

REDIRECTS_AT_MOST = 5
REDIRECTS = frozenset((301, 302, 303, 307, 308))
PERMANENT = frozenset((301, 308))
COME_AGAIN = frozenset((429, 503))
"""Answers in which Retry-After says when."""
TOO_MANY_REQUESTS_WAIT = timedelta(hours=1)
"""For a source that says too many, and not when."""


@dataclass(frozen=True, slots=True)
class Followed:
    """The answer at the end of the redirects. `moved_to`: where the permanent ones among them lead."""

    answer: Answer
    moved_to: str | None


class Following:
    """Asks, in turn with everybody else, and follows redirects."""

    def __init__(self, outgoing: Outgoing, hosts: Hosts) -> None:
        self._outgoing = outgoing
        self._hosts = hosts

    async def ask(
        self, request: Request, into: Path, *, own: str, validators: Mapping[str, Validators], gap_s: float = 0.0
    ) -> Followed:
        """Ask, and write the body of a 200 into a file. `own`: the address whose origin gets the headers.

        Raises Wait, AddressRefused, SourceUnavailable, SourceTooSlow, TooLarge, UnreadableBody.
        """
        moved_to, is_permanent = None, True
        for _ in range(REDIRECTS_AT_MOST + 1):
            answer = await self._hop(request, into, own, validators, gap_s)
            if answer.status not in REDIRECTS:
                return Followed(answer, moved_to)
            is_permanent = is_permanent and answer.status in PERMANENT
            request = _redirected(request, answer)
            moved_to = request.url if is_permanent else moved_to
        raise SourceUnavailable(f"The source redirected more than {REDIRECTS_AT_MOST} times.")

    async def _hop(
        self, request: Request, into: Path, own: str, validators: Mapping[str, Validators], gap_s: float
    ) -> Answer:
        headers = request.headers if origin_of(request.url) == origin_of(own) else {}
        conditions = _conditions(validators.get(request.url, Validators())) if request.method == "GET" else {}
        async with self._hosts.turn(host_of(request.url)) as turn:
            turn.gap_s = max(turn.gap_s, gap_s)
            answer = await self._outgoing.ask(replace(request, headers=headers, conditions=conditions), into)
            now = datetime.now(UTC)
            turn.postpone = retry_after(answer.headers, now) if answer.status in COME_AGAIN else None
            if answer.status == 429 or turn.postpone is not None:
                raise Wait(turn.postpone or now + TOO_MANY_REQUESTS_WAIT, "The source asks to be asked later.")
            if answer.status >= 500 or answer.status in (408, 425):
                raise SourceUnavailable(f"The source answered {answer.status}.")
        return answer


def _conditions(validators: Validators) -> dict[str, str]:
    """As they were received."""
    conditions = {}
    if validators.etag is not None:
        conditions["If-None-Match"] = validators.etag
    if validators.last_modified is not None:
        conditions["If-Modified-Since"] = validators.last_modified
    return conditions


def _redirected(request: Request, answer: Answer) -> Request:
    try:
        url = urljoin(request.url, answer.headers["location"])
    except (KeyError, ValueError):
        raise SourceUnavailable("The source redirects to no address.") from None
    try:
        check_url(url)
    except AddressRefused as error:
        raise AddressRefused(f"The source redirects elsewhere. {error}") from None
    if answer.status == 303 or (answer.status in (301, 302) and request.method == "POST"):
        return replace(request, url=url, method="GET", body=None)
    return replace(request, url=url)
