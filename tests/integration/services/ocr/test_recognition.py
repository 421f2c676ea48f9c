"""What makes a reading good: looked at again where unsure, and only then."""

from pathlib import Path

from PIL import Image

from services.ocr.recognition import Reader as Recogniser
from tests import pictures
from tests.integration.services.ocr.conftest import Reader
from tests.integration.services.ocr.read_words import committed
from tests.pictures import word_f1


async def test_a_blank_page_costs_one_look(reader: Reader) -> None:
    done = await reader.read(pictures.encoded(Image.new("L", (1200, 1600), 255), "PNG"))
    assert (await reader.text(done)).strip("\n\f ") == ""
    assert done.result["confidence"] is None


async def test_what_is_tried_again_is_kept_only_if_it_is_better(reader: Reader, scans: Path) -> None:
    """A receipt of which the automatic mode makes little; and one that it reads well, which is left alone."""
    passes = {}
    for name, at_least in (("260", 0.6), ("156", 0.9)):
        content = (scans / "receipts" / f"{name}.jpg").read_bytes()
        done = await reader.read(content)
        rows = (scans / "receipts" / f"{name}.csv").read_text(errors="replace").splitlines()
        truth = " ".join(",".join(row.split(",")[8:]) for row in rows)
        assert word_f1(await reader.text(done), truth) >= at_least
        await committed(reader, done)
        (row,) = await reader.deps.database.fetch("SELECT summary FROM ocr.readings ORDER BY read_at DESC LIMIT 1")
        passes[name] = row[0]["passes"]
    assert passes["260"] > 1
    assert passes["156"] == 1


async def test_time_that_runs_out_costs_the_further_looks_only(reader: Reader, tmp_path: Path) -> None:
    upside_down = pictures.page().rotate(180)
    path = pictures.write(tmp_path, "page.png", pictures.encoded(upside_down, "PNG"))
    engine = reader.deps.engine
    hurried = Recogniser(engine, path, tmp_path / "page", languages="eng", psm=3, dpi=150, until=0.0).read()
    assert hurried.passes == 1
