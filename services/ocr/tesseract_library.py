"""Tesseract as a library in the page's own process: OCR_ENGINE=tesserocr. The only module that knows tesserocr.

Measured on pages of 11-point text: a fifth less time than the program. The wheel brings a Tesseract of its own.
"""

from functools import lru_cache
from pathlib import Path

import tesserocr

from services.ocr.refusals import EngineFailed

TABLE_HEADER = "level page_num block_num par_num line_num word_num left top width height conf text".replace(
    " ", "\t"
)
"""As the program writes it; the library has the rows only, and they are still there when the PDF is done."""

tesserocr.set_leptonica_log_level(tesserocr.LeptLogLevel.NONE)


def version() -> str:
    """Of the library and the Tesseract in it."""
    return f"tesserocr {tesserocr.__version__} {tesserocr.tesseract_version().splitlines()[0]}"


def write(image: Path, base: Path, *, models: Path, languages: str, psm: int, dpi: int) -> None:
    """Leave `base`.txt, .tsv and .pdf of the picture `image`. `models`: a folder. Raises EngineFailed."""
    try:
        engine = _loaded(models, languages)
        engine.SetPageSegMode(psm)
        engine.SetVariable("user_defined_dpi", str(dpi))
        done = engine.ProcessPages(str(base), str(image))
        base.with_suffix(".tsv").write_text(f"{TABLE_HEADER}\n{engine.GetTSVText(0)}")
    except RuntimeError as error:
        raise EngineFailed(f"Tesseract failed: {error}") from error
    if not done:
        raise EngineFailed("Tesseract failed on this picture.")


@lru_cache(maxsize=1)
def _loaded(models: Path, languages: str) -> tesserocr.PyTessBaseAPI:
    """One for all looks at a page: loading the models takes 60 ms."""
    engine = tesserocr.PyTessBaseAPI(path=str(models), lang=languages)
    for output in ("tessedit_create_txt", "tessedit_create_pdf", "textonly_pdf"):
        engine.SetVariable(output, "1")
    return engine
