"""Is all well? Where is it not?"""

from deploy.grafana.panels import Board, Query, Row, Unit, lines, number, per_second, quantile

PROMISES = Row(
    "Promises",
    (
        number(
            "Jobs unaccounted",
            Unit.COUNT,
            "sum(abs(argosy:jobs_unaccounted{}))",
            "Jobs accepted, less those that ended, less those in the ledger. Anything but 0 is a bug.",
            alerts=("ArgosyJobsUnaccounted",),
            alarming_from=1,
        ),
        number(
            "Age of the ledger's figures",
            Unit.SECONDS,
            "time() - max(argosy_accounting_timestamp_seconds{})",
            "When a gateway last counted the jobs. Figures of queues are as old.",
            alerts=("ArgosyAccountingStale",),
            alarming_from=900,
        ),
        number(
            "Writes refused (15 min)",
            Unit.COUNT,
            "sum(increase(argosy_jobs_fenced_total{}[15m]))",
            "Workers that wrote for a job which they had lost. Nothing was counted twice.",
            alerts=("ArgosyWritesRefused",),
            alarming_from=1,
        ),
        number(
            "Jobs recovered (15 min)",
            Unit.COUNT,
            "sum(increase(argosy_jobs_recovered_total{}[15m]))",
            "Jobs taken back from workers that fell silent.",
            alerts=("ArgosyWorkersDie",),
            alarming_from=1,
        ),
        number(
            "Parts of processes lost (15 min)",
            Unit.COUNT,
            "sum(increase(argosy_background_deaths_total{}[15m]))"
            " + sum(increase(argosy_background_errors_total{}[15m]))",
            "Background parts that ended or met a bug. Neither should happen.",
            alerts=("ArgosyBackgroundPartDied", "ArgosyBackgroundPartFails"),
            alarming_from=1,
            quiet=True,
        ),
        number(
            "Requests answered with 5xx (5 min)",
            Unit.SHARE,
            "sum(argosy:http_errors:ratio_rate5m{}) or on () 0 * sum(rate(argosy_http_requests_total{}[5m]))",
            "The share of requests that the gateways could not serve. The objective is 0.1 % of a month's.",
            alarming_from=0.001,
        ),
    ),
)
FLOW = Row(
    "Flow",
    (
        lines(
            "Jobs accepted",
            Unit.PER_SECOND,
            "Jobs written to the ledger, by queue.",
            per_second("argosy_jobs_accepted_total", "queue"),
        ),
        lines(
            "Attempts ended",
            Unit.PER_SECOND,
            "By outcome; `queued` ones are tried again.",
            per_second("argosy_attempts_finished_total", "outcome"),
        ),
        lines(
            "Unfinished jobs",
            Unit.COUNT,
            "What the ledger holds, by queue and state.",
            Query("argosy:jobs{}", "{{queue}} {{state}}"),
        ),
        lines(
            "Oldest waiting",
            Unit.SECONDS,
            "How long the oldest job of a queue has been due. The objective is 10 minutes.",
            Query("argosy:oldest_waiting_seconds{}", "{{queue}}"),
        ),
        lines(
            "Slots in use",
            Unit.SHARE,
            "Running jobs, of what the live workers can run at once.",
            Query(
                "sum by (queue) (argosy_jobs_running{}) / on (queue) max by (queue) (argosy:slots{} > 0)",
                "{{queue}}",
            ),
        ),
        lines(
            "Alerts firing",
            Unit.COUNT,
            "By name. The board Runbooks says what to do.",
            Query('count by (alertname) (ALERTS{alertstate="firing"})', "{{alertname}}", quiet=True),
        ),
    ),
)
SERVERS = Row(
    "Servers",
    (
        lines(
            "Connections to PostgreSQL",
            Unit.COUNT,
            "Of the pools of all processes. `waiting` are callers without one.",
            Query("sum by (service, state) (argosy_db_connections{})", "{{service}} {{state}}"),
            alerts=("ArgosyPoolExhausted",),
        ),
        lines(
            "Wait for a connection (p99)",
            Unit.SECONDS,
            "Time that callers waited for a connection of the pool.",
            quantile(0.99, "argosy_db_wait_seconds", "service"),
        ),
        lines(
            "Redis can be used",
            Unit.COUNT,
            "1 while every process of the service can use it, else 0.",
            Query("min by (service, kind) (argosy_redis_usable{})", "{{service}}: {{kind}}"),
            alerts=("ArgosyRedisUnusable",),
        ),
        lines(
            "Servers as processes last saw them",
            Unit.COUNT,
            "1 while every process of the service could use the server when it last did, else 0.",
            Query("min by (service, server) (argosy_dependency_up{})", "{{service}}: {{server}}"),
        ),
        lines(
            "Errors of the blob store",
            Unit.PER_SECOND,
            "Failed operations, by their kind.",
            per_second("argosy_storage_errors_total", "operation, error"),
            alerts=("ArgosyStorageErrors",),
        ),
        lines(
            "Time of the blob store (p95)",
            Unit.SECONDS,
            "Of an operation with all its bytes, also where somebody reads them slowly.",
            quantile(0.95, "argosy_storage_seconds", "operation"),
        ),
        lines(
            "Stored files",
            Unit.BYTES,
            "Uploads and artifacts, and what retention allows; 0 if it has no limit.",
            Query("sum(argosy:stored_bytes{})", "stored"),
            Query("max(argosy_stored_bytes_allowed{})", "allowed"),
            alerts=("ArgosyStorageNearlyFull",),
        ),
    ),
)
PROCESSES = Row(
    "Processes",
    (
        lines(
            "Processes scraped",
            Unit.COUNT,
            "Those that answer Prometheus, by service.",
            Query('sum by (service) (up{service=~"gateway|ocr|mailer|analytics|sync|exporter"})', "{{service}}"),
            alerts=("ArgosyTargetDown", "ArgosyGatewaysGone"),
        ),
        lines(
            "Event loop late",
            Unit.SECONDS,
            "How late a loop ran its last tick: the worst process of each service.",
            Query("max by (service) (argosy_loop_lag_seconds{})", "{{service}}"),
            alerts=("ArgosyLoopLags",),
        ),
        lines(
            "CPU",
            Unit.COUNT,
            "Cores. Children are those that have ended, such as those that read documents.",
            Query("sum by (service) (rate(process_cpu_seconds_total{}[$__rate_interval]))", "{{service}}"),
            Query(
                "sum by (service) (rate(argosy_children_cpu_seconds_total{}[$__rate_interval])) > 0",
                "children of {{service}}",
            ),
        ),
        lines(
            "Memory",
            Unit.BYTES,
            "Resident, without children.",
            Query("sum by (service) (process_resident_memory_bytes{})", "{{service}}"),
        ),
        lines(
            "Open files",
            Unit.SHARE,
            "Of as many as the process may open: the worst of each service.",
            Query("max by (service) (process_open_fds{} / process_max_fds{})", "{{service}}"),
        ),
        lines(
            "Versions",
            Unit.COUNT,
            "Processes of each commit. During a rollout there are two.",
            Query("count by (version, commit) (argosy_build_info{})", "{{version}} {{commit}}"),
        ),
        lines(
            "Reports of bugs",
            Unit.PER_SECOND,
            "To the server of errors, if there is one: sent, held back, or lost.",
            per_second("argosy_error_reports_total", "result", quiet=True),
        ),
        lines(
            "Spans dropped",
            Unit.PER_SECOND,
            "That no collector of traces got, if there is one.",
            per_second("argosy_spans_dropped_total", "reason", quiet=True),
        ),
        lines(
            "Age of processes",
            Unit.SECONDS,
            "Since the youngest process of each service started.",
            Query("time() - max by (service) (process_start_time_seconds{})", "{{service}}"),
        ),
    ),
)
FLEET = Board(
    "fleet",
    "Argosy: Fleet",
    "Is all well, and where is it not? Promises, what flows through the fleet, its servers and processes.",
    (PROMISES, FLOW, SERVERS, PROCESSES),
)
