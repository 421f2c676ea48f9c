"""Links to files that need no key: whoever has one may download that file until it expires.

A link names one file by the hash of its content, so it never leads to another one. It ends with the file's job.
"""

import base64
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import orjson

LIFE_AT_MOST_S = 7 * 86_400
"""How long a link may lead to its file, in seconds."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a link leads to: the artifact `name` of a job, and when it ends, in seconds since 1970."""

    tenant: str
    job: UUID
    name: str
    sha256: str
    expires: int

    @property
    def expires_at(self) -> datetime:
        """When it ends."""
        return datetime.fromtimestamp(self.expires, UTC)


def token_of(link: Link, secret: str) -> str:
    """The end of the link's URL. Only who has `secret` can make one."""
    facts = orjson.dumps([link.tenant, link.job.hex, link.name, link.sha256, link.expires])
    return f"{_text(facts)}.{_text(_signature(facts, secret))}"


def link_of(token: str, secret: str) -> Link | None:
    """The link that was made with `secret`, unless it has expired; None for anything else."""
    try:
        first, _, second = token.partition(".")
        facts, signature = _bytes(first), _bytes(second)
    except ValueError:
        return None
    if not hmac.compare_digest(signature, _signature(facts, secret)):
        return None
    tenant, job, name, sha256, expires = orjson.loads(facts)
    link = Link(tenant, UUID(hex=job), name, sha256, expires)
    return link if datetime.now(UTC) < link.expires_at else None


def _signature(facts: bytes, secret: str) -> bytes:
    return hmac.digest(secret.encode(), b"argosy link\n" + facts, "sha256")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
