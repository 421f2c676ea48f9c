"""The data exchanged between the gateway and the OCR worker."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from libs.common.contracts.whole_numbers import WHOLE

MEDIA_TYPES = (
    *("application/pdf", "image/png", "image/jpeg", "image/tiff", "image/webp"),
    *("image/heic", "image/avif", "image/gif", "image/bmp", "image/jp2"),
)
"""The media types that can be processed."""

Language = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{1,30}(/[A-Za-z_]{1,40})?$")]
PASSWORDS = b"passwords of documents"
"""The purpose of the keys that the gateway seals passwords with, and the worker opens them (sealing.Sealer)."""
LANGUAGES = "languages"
"""The option for which workers tell gateways what they offer."""
PAGES_PATTERN = r"^[1-9]\d{0,5}(-[1-9]\d{0,5})?(,[1-9]\d{0,5}(-[1-9]\d{0,5})?)*$"


MODES = (1, *range(3, 14))
"""Tesseract's page segmentation modes that yield text."""


def _is_mode(psm: int) -> int:
    if psm not in MODES:
        raise ValueError(f"It must be one of {', '.join(map(str, MODES))}.")
    return psm


class OcrOptions(BaseModel):
    """How to process a document."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    languages: Annotated[tuple[Language, ...], Field(max_length=8)] = ()
    """Tesseract's names, such as `eng` or `deu`; empty: the worker's default languages."""
    dpi: Annotated[int, Field(ge=72, le=600), WHOLE] | None = None
    """Dots per inch at which PDF pages are rasterised; None: chosen by the size of the print."""
    pages: (
        Annotated[str, Field(pattern=PAGES_PATTERN, max_length=1000, json_schema_extra={"format": "page-ranges"})]
        | None
    ) = None
    """The pages to process, counted from 1, such as `1-3,7`; None: all."""
    psm: Annotated[int, Field(json_schema_extra={"enum": list(MODES)}), AfterValidator(_is_mode), WHOLE] = 3
    """Tesseract's page segmentation mode."""
    text: Literal["keep", "fill", "replace"] = "fill"
    """The text that a PDF page has: kept, and nothing read; kept, and what it lacks read; or not used."""
    rotate: bool = False
    """Whether document.pdf shows the pages upright that were recognised as turned."""

    @field_validator("pages")
    @classmethod
    def _ranges_go_up(cls, pages: str | None) -> str | None:
        for part in (pages or "").split(","):
            first, _, last = part.partition("-")
            if last and int(last) < int(first):
                raise ValueError(f"{part} ends before it begins")
        return pages


class OcrPayload(BaseModel):
    """The payload of an OCR job."""

    source: str
    """The upload's key in the blob store."""
    filename: str
    media_type: str
    options: OcrOptions
    page: int | None = None
    """The single page that this job processes; None: the whole document."""


Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels from the top left corner."""


class Word(BaseModel):
    """One word. `confidence` is 0 to 100."""

    text: str
    box: Box
    confidence: float


class Line(BaseModel):
    """A line of words."""

    box: Box
    words: list[Word]


class Block(BaseModel):
    """A block of lines: a paragraph, a column, a caption."""

    box: Box
    lines: list[Line]


Source = Literal["ocr", "text-layer", "mixed"]
"""Where the words of a page come from: OCR of the page, its text layer, or text layer and OCR of its images."""


class Page(BaseModel):
    """A page of `words.json`.

    `confidence` is the mean over its recognised words, None if there are none. `rotation`: degrees by which the
    page was turned counterclockwise to be upright. `skew`: degrees by which it was then turned to be straight.
    """

    number: int
    width: int
    height: int
    dpi: int
    source: Source
    confidence: float | None
    rotation: int = 0
    skew: float = 0.0
    unread_area: float | None = None
    """The share of a recognised page, 0 to 1, that has print for which no word stands."""
    warnings: list[str] = []
    """Codes of what was lost or is doubtful: `services.ocr.warnings`."""
    blocks: list[Block]
