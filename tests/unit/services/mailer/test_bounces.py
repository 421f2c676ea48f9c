"""What a message reports."""

import pytest

from services.mailer.bounces import read


@pytest.mark.parametrize(
    "garbage", [b"", b"\x00\xff" * 100, b"Content-Type: message/delivery-status\n\n\n\n", b"\n"]
)
def test_garbage_is_no_report(garbage: bytes) -> None:
    assert read(garbage) is None
