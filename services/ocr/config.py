"""Every setting of the OCR worker."""

from typing import Annotated

from pydantic import Field, SecretStr

from libs.common.config import WorkerSettings
from libs.common.sandbox.settings import SandboxSettings
from services.ocr.tesseract import Kind


class Settings(WorkerSettings, SandboxSettings):
    """What the OCR worker reads from the environment."""

    ocr_concurrency: Annotated[int, Field(ge=1, le=256)] = 2
    """Pages that this process reads at once. One per core is right."""
    ocr_engine: Kind = "tesseract"
    """`tesseract` runs the program, `tesserocr` uses the library in the package of that name."""
    ocr_languages: str = "eng"
    """Default languages of jobs that name none: Tesseract's names, joined by `+`."""
    ocr_max_pages: Annotated[int, Field(ge=1)] = 3000
    ocr_max_page_pixels: Annotated[int, Field(ge=1_000_000)] = 50_000_000
    """Larger pages are scaled down to this. A3 at 600 dpi still fits."""
    ocr_page_timeout_s: Annotated[float, Field(gt=0)] = 120.0
    ocr_memory_mb: Annotated[int, Field(ge=256)] = 3072
    """Address space of the sandboxed process of a page."""
    ocr_scratch_mb: Annotated[int, Field(ge=64)] = 4096
    """Room for the temporary files of one job, in the folder for temporary files (TMPDIR)."""

    ocr_secret: Annotated[SecretStr, Field(min_length=32)] | None = None
    """Opens the passwords of documents, which gateways have sealed with it."""

    @property
    def slots(self) -> int:
        """Jobs at once: each reads a page, or splits or assembles a document."""
        return self.ocr_concurrency
