"""Every hostile file ends in a result or a typed error; the worker goes on, and is no larger than before."""

import contextlib
import gc
import json

import psutil
import pytest

from libs.common.errors import Reject
from libs.common.sandbox.seccomp import network_is_closed
from services.ocr.refusals import PageCrashed
from tests import pictures
from tests.integration.services.ocr.conftest import Reader
from tests.integration.services.ocr.hostile import corpus

CORPUS = corpus()
GROWTH_AT_MOST = 50_000_000
"""Bytes that this process may be larger after the whole corpus."""


@pytest.fixture(scope="module")
def resident_before() -> int:
    gc.collect()
    return psutil.Process().memory_info().rss


@pytest.mark.parametrize("name", CORPUS)
async def test_a_hostile_file_is_read_or_refused(reader: Reader, resident_before: int, name: str) -> None:
    with contextlib.suppress(Reject, PageCrashed):  # anything else is no typed error
        done = await reader.read(CORPUS[name])
        assert done.result["pages"] >= 1
        json.dumps(await reader.words(done))
    alive = await reader.read(pictures.text_pdf(f"after {name}"))
    assert name in await reader.text(alive)
    gc.collect()
    assert psutil.Process().memory_info().rss < resident_before + GROWTH_AT_MOST
    names = {child.name() for child in psutil.Process().children(recursive=True)}
    assert "tesseract" not in names


@pytest.mark.parametrize("name", ["png-bomb", "tiff-bomb", "pdf-encrypted", "pdf-header-only"])
async def test_what_cannot_be_read_is_refused(reader: Reader, name: str) -> None:
    with pytest.raises(Reject):
        await reader.read(CORPUS[name])


async def test_a_file_that_is_not_what_it_was_sent_as(reader: Reader) -> None:
    for content, media_type in (
        (pictures.text_pdf("x"), "image/png"),
        (pictures.encoded(pictures.page(), "PNG"), "application/pdf"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage", "image/tiff"),
    ):
        with pytest.raises(Reject):
            await reader.read(content, media_type)


async def test_no_network_in_the_sandbox(reader: Reader) -> None:
    assert await reader.deps.sandbox.run(network_is_closed)
    assert not network_is_closed()
