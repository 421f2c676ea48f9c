"""Whether events are counted, how soon, and rightly."""

from deploy.grafana.boards.work import work_of
from deploy.grafana.panels import Board, Query, Row, Unit, lines, number, per_second, percentiles, quantile

EVENTS = Row(
    "Events",
    (
        lines(
            "Events by outcome",
            Unit.PER_SECOND,
            "Late ones are also counted.",
            per_second("argosy_events_total", "outcome"),
        ),
        lines(
            "Rejected (15 min)",
            Unit.SHARE,
            "Of all that came. `GET /v1/events/rejected` says why.",
            Query(
                'sum(increase(argosy_events_total{outcome="rejected"}[15m]))'
                ' / sum(increase(argosy_events_total{outcome=~"counted|duplicate|rejected"}[15m]))',
                "rejected",
            ),
            alerts=("ArgosyEventsRejected",),
        ),
        lines(
            "Until they count",
            Unit.SECONDS,
            "From their acceptance.",
            *percentiles("argosy_events_lag_seconds"),
        ),
        lines(
            "Events in a job",
            Unit.COUNT,
            "Requests that come at the same time share a job.",
            *percentiles("argosy_events_batch_size"),
        ),
        number(
            "Counts wrong by",
            Unit.COUNT,
            "max(abs(argosy_rollup_drift{}))",
            "At the check of the last night. Anything but 0 is a bug.",
            alerts=("ArgosyRollupDrift",),
            alarming_from=1,
        ),
        number(
            "Partitions ahead",
            Unit.DAYS,
            'min(argosy_partitions_ahead_days{service="analytics"})',
            "Days for which events have a place. The nightly job makes more.",
            alerts=("ArgosyPartitionsEnd",),
            good_from=20,
        ),
    ),
)
QUESTIONS = Row(
    "Questions",
    (
        lines(
            "Time of a query (p95)",
            Unit.SECONDS,
            "And of a report, by its kind.",
            quantile(0.95, "argosy_analytics_query_seconds", "kind"),
        ),
        lines(
            "Queries and reports",
            Unit.PER_SECOND,
            "Answered, by kind.",
            per_second("argosy_analytics_query_seconds_count", "kind"),
        ),
    ),
)
ANALYTICS = Board(
    "analytics",
    "Argosy: Analytics",
    "Are events counted, how soon, and rightly? Events, questions, and what becomes of the jobs.",
    (EVENTS, QUESTIONS, work_of("analytics")),
)
