"""What is sealed can be opened for the thing that it is of, with the same secret and for the same purpose."""

from uuid import UUID, uuid4

import pytest

from libs.common.sealing import SealBroken, Sealer

THING = uuid4()
SEALER = Sealer("s" * 32, b"purpose")


def test_what_is_sealed_can_be_opened_and_does_not_show() -> None:
    sealed = SEALER.seal(b"hush", "acme", THING)
    assert b"hush" not in sealed
    assert SEALER.open(sealed, "acme", THING) == b"hush"
    assert sealed != SEALER.seal(b"hush", "acme", THING)


@pytest.mark.parametrize(
    ("secret", "purpose", "tenant", "thing"),
    [
        ("t" * 32, b"purpose", "acme", THING),
        ("s" * 32, b"other", "acme", THING),
        ("s" * 32, b"purpose", "beta", THING),
        ("s" * 32, b"purpose", "acme", uuid4()),
    ],
)
def test_nobody_else_can_open_it(secret: str, purpose: bytes, tenant: str, thing: UUID) -> None:
    sealed = SEALER.seal(b"hush", "acme", THING)
    with pytest.raises(SealBroken):
        Sealer(secret, purpose).open(sealed, tenant, thing)
    for changed in (sealed[:-1] + bytes([sealed[-1] ^ 1]), sealed[:12]):
        with pytest.raises(SealBroken):
            SEALER.open(changed, "acme", THING)


def test_a_fingerprint_tells_contents_apart_and_needs_the_secret() -> None:
    assert SEALER.fingerprint(b"hush") == Sealer("s" * 32, b"purpose").fingerprint(b"hush")
    others = (SEALER.fingerprint(b"hash"), Sealer("t" * 32, b"purpose").fingerprint(b"hush"))
    assert SEALER.fingerprint(b"hush") not in (*others, Sealer("s" * 32, b"other").fingerprint(b"hush"))
