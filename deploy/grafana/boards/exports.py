"""How fast files are written, and what it costs the others."""

from deploy.grafana.boards.work import work_of
from deploy.grafana.panels import Board, Query, Row, Unit, lines, number, per_second, percentiles, quantile

EXPORTS = Board(
    "exports",
    "Argosy: Exports",
    "How fast are files written, and what does it cost? Rows, bytes, snapshots, downloads, jobs.",
    (
        Row(
            "Files",
            (
                lines(
                    "Rows written",
                    Unit.PER_SECOND,
                    "By dataset and format.",
                    per_second("argosy_export_rows_total", "dataset, format", quiet=True),
                ),
                lines(
                    "Bytes written",
                    Unit.BYTES_PER_SECOND,
                    "Of all files.",
                    Query('sum(rate(argosy_export_bytes_total{service="exporter"}[$__rate_interval]))', "bytes"),
                ),
                lines(
                    "Time of a file (p95)",
                    Unit.SECONDS,
                    "By format.",
                    quantile(0.95, "argosy_export_seconds", "format"),
                ),
                lines(
                    "Time to the first bytes",
                    Unit.SECONDS,
                    "From the beginning of a job.",
                    *percentiles("argosy_export_first_byte_seconds"),
                ),
                lines(
                    "Downloads",
                    Unit.PER_SECOND,
                    "With a key, or by a link.",
                    per_second("argosy_export_downloads_total", "how", quiet=True),
                ),
                number(
                    "Oldest snapshot",
                    Unit.SECONDS,
                    'max(argosy_export_snapshot_age_seconds{service="exporter"})',
                    "That an export holds. PostgreSQL cleans up nothing that is younger.",
                    alerts=("ArgosySnapshotHeld",),
                    alarming_from=600,
                ),
            ),
        ),
        work_of("exporter"),
    ),
)
