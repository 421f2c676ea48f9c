"""Whether sources are read, and what is found in them."""

from deploy.grafana.boards.work import work_of
from deploy.grafana.panels import Board, Query, Row, Unit, lines, number, per_second, percentiles, quantile

SOURCES = Row(
    "Sources",
    (
        lines(
            "Requests by status",
            Unit.PER_SECOND,
            "What sources answered.",
            per_second("argosy_sync_fetches_total", "status", quiet=True),
        ),
        lines(
            "Time of a request",
            Unit.SECONDS,
            "With the body of the answer.",
            *percentiles("argosy_sync_fetch_seconds"),
        ),
        lines(
            "Wait for the turn of a host",
            Unit.SECONDS,
            "Sources are asked one after the other, with a gap.",
            *percentiles("argosy_sync_host_wait_seconds"),
        ),
        lines(
            "Received",
            Unit.BYTES_PER_SECOND,
            "As it came over the wire.",
            Query('sum(rate(argosy_sync_bytes_total{service="sync"}[$__rate_interval]))', "bytes"),
        ),
        number(
            "Longest not read",
            Unit.SECONDS,
            'max(argosy_sync_oldest_success_seconds{service="sync"})',
            "How long ago the source that waits longest was read to its end, of those that are not paused.",
            alerts=("ArgosySourcesStale",),
            alarming_from=86_400,
        ),
        number(
            "Private addresses refused (1 h)",
            Unit.COUNT,
            'sum(increase(argosy_sync_refused_addresses_total{service="sync"}[1h]))',
            "Connections that were refused because the address is not public.",
        ),
    ),
)
RECORDS = Row(
    "Records",
    (
        lines(
            "Records by outcome",
            Unit.PER_SECOND,
            "What became of what was read.",
            per_second("argosy_sync_records_total", "outcome"),
        ),
        lines(
            "Time of a search (p95)",
            Unit.SECONDS,
            "To find opportunities, by their order.",
            quantile(0.95, "argosy_search_seconds", "order"),
        ),
    ),
)
SYNC = Board(
    "sync",
    "Argosy: Sync",
    "Are sources read, and what is found in them? Requests, records, searches, and what becomes of the jobs.",
    (SOURCES, RECORDS, work_of("sync")),
)
