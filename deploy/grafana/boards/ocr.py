"""How fast documents are read."""

from deploy.grafana.boards.work import work_of
from deploy.grafana.panels import Board, Row, Unit, lines, per_second, percentiles

OCR = Board(
    "ocr",
    "Argosy: OCR",
    "How fast are documents read? Pages by the source of their text, and what becomes of the jobs.",
    (
        Row(
            "Pages",
            (
                lines(
                    "Pages read",
                    Unit.PER_SECOND,
                    "By the source of their text.",
                    per_second("argosy_ocr_page_seconds_count", "source"),
                ),
                lines(
                    "Pages by result",
                    Unit.PER_SECOND,
                    "Read, found as read before, or there as text.",
                    per_second("argosy_ocr_pages_total", "result"),
                ),
                lines(
                    "Time of a page",
                    Unit.SECONDS,
                    "Without those that had been read before.",
                    *percentiles("argosy_ocr_page_seconds", "source"),
                ),
            ),
        ),
        work_of("ocr"),
    ),
)
