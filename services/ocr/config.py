"""Every setting of the OCR worker."""

from typing import Annotated

from pydantic import Field

from libs.common.config import WorkerSettings
from services.ocr.tesseract import Kind


class Settings(WorkerSettings):
    """What the OCR worker reads from the environment."""

    ocr_concurrency: Annotated[int, Field(ge=1, le=256)] = 2
    """Pages read at once by this process; one a core is right."""
    ocr_engine: Kind = "tesseract"
    """The program of that name, or the library in the package tesserocr."""
    ocr_languages: str = "eng"
    """Read with these where a job names none: Tesseract's names, joined by `+`."""
    ocr_max_pages: Annotated[int, Field(ge=1)] = 3000
    ocr_max_page_pixels: Annotated[int, Field(ge=1_000_000)] = 50_000_000
    """A larger page is scaled down to this: an A3 page at 600 dpi still fits."""
    ocr_page_timeout_s: Annotated[float, Field(gt=0)] = 120.0
    ocr_memory_mb: Annotated[int, Field(ge=256)] = 3072
    """Address space of one page's process."""

    @property
    def slots(self) -> int:
        """Jobs at once: each is a page, or a document that is taken apart or put together."""
        return self.ocr_concurrency
