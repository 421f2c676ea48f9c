"""The library leaves what the program would, and fails as it does."""

from pathlib import Path

import pytest

from services.ocr import tesseract_library
from services.ocr.refusals import EngineFailed
from services.ocr.tesseract_library import TABLE_HEADER
from tests import pictures
from tests.integration.services.ocr.conftest import Reader
from tests.integration.services.ocr.read_words import TEXT
from tests.pictures import word_f1


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return pictures.write(tmp_path, "page.png", pictures.encoded(pictures.page(), "PNG"))


async def written(reader: Reader, picture: Path, *, languages: str = "eng") -> Path:
    """What all written files' names begin with."""
    base = picture.with_name("read")
    models = reader.deps.engine.models
    write = tesseract_library.write
    sandbox = reader.deps.sandbox.writing(picture.parent)
    await sandbox.run(write, picture, base, models=models, languages=languages, psm=3, dpi=150)
    return base


async def test_text_table_and_layer_are_there_when_it_is_done(reader: Reader, picture: Path) -> None:
    base = await written(reader, picture)
    assert word_f1(base.with_suffix(".txt").read_text(), TEXT) > 0.95
    head, *rows = base.with_suffix(".tsv").read_text().splitlines()
    assert head == TABLE_HEADER
    assert {len(row.split("\t")) for row in rows} == {12}
    assert word_f1(" ".join(row.split("\t")[11] for row in rows if row.startswith("5\t")), TEXT) > 0.95
    assert base.with_suffix(".pdf").read_bytes().startswith(b"%PDF-")


async def test_without_its_models_or_a_picture_it_says_so(reader: Reader, picture: Path) -> None:
    with pytest.raises(EngineFailed):
        await written(reader, picture, languages="tlh")
    with pytest.raises(EngineFailed):
        await written(reader, pictures.write(picture.parent, "no.png", b"no picture"))


async def test_its_version_tells_it_from_the_program(reader: Reader) -> None:
    version = await reader.deps.sandbox.run(tesseract_library.version)
    assert version.startswith("tesserocr ")
    engine = (await reader.with_engine("tesserocr")).deps.engine
    assert engine.identity.startswith(version)
    assert engine.identity != reader.deps.engine.identity
