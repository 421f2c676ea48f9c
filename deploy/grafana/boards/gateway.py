"""What callers meet: answers, waiting, refusals."""

from deploy.grafana.panels import Board, Query, Row, Unit, lines, per_second, percentiles, quantile

SPANS = ("5m", "30m", "1h", "6h")
REQUESTS = Row(
    "Requests",
    (
        lines(
            "Requests by route",
            Unit.REQUESTS_PER_SECOND,
            "Answered requests, without those of probes.",
            per_second("argosy_http_requests_total", "route", 'route!~"alive|ready"'),
        ),
        lines(
            "Answers by status",
            Unit.REQUESTS_PER_SECOND,
            "429 is a limit; 503 is a server that is away, or too much to do.",
            per_second("argosy_http_requests_total", "status", 'route!~"alive|ready"'),
        ),
        lines(
            "Answered with 5xx",
            Unit.SHARE,
            "Over the spans that the alerts watch. The objective is 0.1 % of a month's.",
            *(
                Query(
                    f"sum(argosy:http_errors:ratio_rate{span}{{}})"
                    f" or on () 0 * sum(rate(argosy_http_requests_total{{}}[{span}]))",
                    span,
                )
                for span in SPANS
            ),
            alerts=("ArgosyErrorBudgetBurnsFast", "ArgosyErrorBudgetBurnsSlowly"),
        ),
        lines(
            "Time to accept",
            Unit.SECONDS,
            "Until a submission is durable and answered.",
            *percentiles("argosy_http_request_seconds", selector='route=~"submit_.*"'),
        ),
        lines(
            "Jobs committed together",
            Unit.COUNT,
            "Submissions that came at the same time share a commit.",
            *percentiles("argosy_accept_batch_size"),
        ),
        lines(
            "Accepted late",
            Unit.SHARE,
            "Submissions that took longer than 250 ms. The objective is 1 %.",
            *(Query(f"sum(argosy:accept_slow:ratio_rate{span}{{}})", span) for span in ("5m", "1h")),
            alerts=("ArgosyAcceptSlow",),
        ),
        lines(
            "Time to answer (p95)",
            Unit.SECONDS,
            "By route, without streams of progress.",
            quantile(0.95, "argosy_http_request_seconds", "route", 'route!~"alive|ready|follow_job"'),
        ),
        lines(
            "Requests in progress",
            Unit.COUNT,
            "Of each gateway, against `GATEWAY_MAX_IN_FLIGHT`.",
            Query('argosy_http_requests_in_flight{service="gateway"}', "{{instance}}"),
        ),
        lines(
            "Received",
            Unit.BYTES_PER_SECOND,
            "Files that callers have sent.",
            Query('sum(rate(argosy_http_upload_bytes_total{service="gateway"}[$__rate_interval]))', "bytes"),
        ),
        lines(
            "Followers",
            Unit.COUNT,
            "Callers that follow a job through a gateway.",
            Query('argosy_followers{service="gateway"}', "{{instance}}"),
        ),
    ),
)
REFUSALS = Row(
    "Limits and refusals",
    (
        lines(
            "Decisions about limits",
            Unit.PER_SECOND,
            "By policy and decision.",
            per_second("argosy_limit_decisions_total", "policy, decision"),
        ),
        lines(
            "Refused for want of capacity",
            Unit.PER_SECOND,
            "By urgency: submissions first, status and cancel last.",
            per_second("argosy_http_requests_shed_total", "urgency"),
            alerts=("ArgosyRequestsShed",),
        ),
        lines(
            "Who decides about limits",
            Unit.COUNT,
            "Gateways in each mode: `shared` with Redis, `alone` without.",
            Query('sum by (mode) (argosy_limiter_mode{service="gateway"})', "{{mode}}"),
            alerts=("ArgosyLimiterAlone",),
        ),
    ),
)
GATEWAY = Board(
    "gateway",
    "Argosy: Gateway",
    "What do callers meet? Answers by route and status, how long they wait, what is refused and why.",
    (REQUESTS, REFUSALS),
)
