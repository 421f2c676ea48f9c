"""A file's type is what its first bytes say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.ocr import MEDIA_TYPES
from services.gateway.endpoints.uploads import media_type_of


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (b"%PDF-1.7\n", "application/pdf"),
        (b"junk before\n%PDF-1.4", "application/pdf"),
        (b"\x89PNG\r\n\x1a\n....", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"II*\x00", "image/tiff"),
        (b"MM\x00*", "image/tiff"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"GIF89a", "image/gif"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "image/jp2"),
        (b"\xff\x4f\xff\x51", "image/jp2"),
        (b"BM" + bytes(12) + b"\x28\x00\x00\x00", "image/bmp"),
        (b"BMW and others", None),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "image/heic"),
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1avif", "image/avif"),
        (b"\x00\x00\x00\x14ftypmp42\x00\x00\x00\x00isom", None),
        (b"<svg/>", None),
        (b"PK\x03\x04", None),
        (b" " * 1024 + b"%PDF-1.7", None),
    ],
)
def test_types(head: bytes, media_type: str | None) -> None:
    assert media_type_of(head) == media_type


@given(st.binary(max_size=2000))
def test_any_bytes_have_a_known_type_or_none(head: bytes) -> None:
    assert media_type_of(head) in (*MEDIA_TYPES, None)
