"""Headers of sources are kept encrypted, and can be read only for the source that they are of."""

from uuid import UUID, uuid4

import pytest

from services.sync.refusals import HeadersLost
from services.sync.sealing import HeaderSealer

HEADERS = {"X-Api-Key": "not a real key"}
SOURCE = uuid4()


def test_what_is_sealed_can_be_opened_and_does_not_show() -> None:
    sealer = HeaderSealer("s" * 32)
    sealed = sealer.seal(HEADERS, "acme", SOURCE)
    assert sealed is not None
    assert b"not a real key" not in sealed
    assert sealer.open(sealed, "acme", SOURCE) == HEADERS
    assert sealed != sealer.seal(HEADERS, "acme", SOURCE)


def test_no_headers_are_nothing() -> None:
    sealer = HeaderSealer("s" * 32)
    assert sealer.seal({}, "acme", SOURCE) is None
    assert sealer.open(None, "acme", SOURCE) == {}


@pytest.mark.parametrize(
    ("secret", "tenant", "source"),
    [("t" * 32, "acme", SOURCE), ("s" * 32, "beta", SOURCE), ("s" * 32, "acme", uuid4())],
)
def test_nobody_else_can_open_them(secret: str, tenant: str, source: UUID) -> None:
    sealed = HeaderSealer("s" * 32).seal(HEADERS, "acme", SOURCE)
    with pytest.raises(HeadersLost):
        HeaderSealer(secret).open(sealed, tenant, source)
