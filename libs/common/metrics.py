"""Every metric of the fleet, declared once. tests/test_architecture.py checks that each is used."""

from collections.abc import Iterable
from itertools import product

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # a quarter of all lines, and nobody asks

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)

build_info = Gauge(
    "argosy_build_info", "1, with the version and the commit that this process runs.", ["version", "commit"]
)

jobs_accepted = Counter("argosy_jobs_accepted", "Jobs committed to the ledger.", ["queue"])
attempts_finished = Counter("argosy_attempts_finished", "Attempts that ended, by outcome.", ["queue", "outcome"])
attempt_errors = Counter(
    "argosy_attempt_errors", "Attempts that failed or were put off, by the code of the error.", ["queue", "code"]
)
jobs_fenced = Counter("argosy_jobs_fenced", "Writes refused because the worker no longer held the job.", ["queue"])
accept_batch_size = Histogram(
    "argosy_accept_batch_size", "Jobs committed together.", buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)
)
jobs_running = Gauge("argosy_jobs_running", "Jobs running in this process.", ["queue"])
job_wait_seconds = Histogram(
    "argosy_job_wait_seconds", "Time from due to started (queue latency).", ["queue"], buckets=_SECONDS
)
job_run_seconds = Histogram(
    "argosy_job_run_seconds", "Time from the start to the end of an attempt.", ["queue"], buckets=_SECONDS
)
tickets_published = Counter("argosy_tickets_published", "Tickets published, by reason.", ["queue", "reason"])
jobs_preempted = Counter(
    "argosy_jobs_preempted", "Running jobs that were asked to give way to other tenants.", ["queue"]
)
jobs_recovered = Counter("argosy_jobs_recovered", "Jobs recovered from dead workers.")
jobs_poisoned = Counter(
    "argosy_jobs_poisoned", "Jobs that failed because several workers died while running them.", ["queue"]
)
jobs_in_state = Gauge("argosy_jobs", "Unfinished jobs in the ledger, by state.", ["queue", "state"])
jobs_unaccounted = Gauge(
    "argosy_jobs_unaccounted", "Jobs accepted minus ended minus unfinished. Anything but 0 is a bug.", ["queue"]
)
accounting_updated = Gauge(
    "argosy_accounting_timestamp_seconds", "When accepted and ended jobs were last compared."
)
oldest_waiting_seconds = Gauge(
    "argosy_oldest_waiting_seconds", "Time since the oldest waiting job was due.", ["queue"]
)
slots = Gauge("argosy_slots", "Jobs that the live workers of a queue can run at once, by the ledger.", ["queue"])
workers = Gauge("argosy_workers", "Live workers of a queue, by the ledger.", ["queue"])
queue_cap = Gauge(
    "argosy_queue_cap", "The most jobs of a queue that may run at once; absent without a cap.", ["queue"]
)
queue_paused = Gauge("argosy_queue_paused", "1 while a queue is paused, else 0.", ["queue"])
slots_wanted = Gauge(
    "argosy_slots_wanted", "Slots that a queue could use now; absent if not counted lately.", ["queue"]
)
jobs_removed = Counter(
    "argosy_jobs_removed", "Ended jobs removed by retention or on request, by reason.", ["reason"]
)
stored_bytes = Gauge("argosy_stored_bytes", "Bytes of uploads and artifacts of the jobs in the ledger.", ["queue"])
stored_bytes_allowed = Gauge(
    "argosy_stored_bytes_allowed", "Bytes from which on retention removes ended jobs before their time."
)
schedule_late_seconds = Histogram(
    "argosy_schedule_late_seconds",
    "Delay from a schedule's fire time to the creation of its job.",
    buckets=_SECONDS,
)
trash_folders = Gauge("argosy_trash_folders", "Folders of the blob store that are to be removed.")
replays_running = Gauge("argosy_replays_running", "Replays that release jobs now.")
schedules_overdue = Gauge(
    "argosy_schedules_overdue", "Schedules whose next run should have been created a minute ago or earlier."
)
schedule_missed = Counter("argosy_schedule_missed", "Fire times of schedules that were skipped.")
storage_errors = Counter(
    "argosy_storage_errors", "Operations on the blob store that failed.", ["operation", "error"]
)
storage_seconds = Histogram(
    "argosy_storage_seconds", "Time of an operation on the blob store, with the bytes.", ["operation"],
    buckets=_SECONDS,
)  # fmt: skip
dependency_up = Gauge(
    "argosy_dependency_up", "1 if this process could use the server when it last did, else 0.", ["server"]
)
followers = Gauge("argosy_followers", "Callers that follow a job through this gateway.")
background_deaths = Counter(
    "argosy_background_deaths", "Background parts that ended although the process went on, or ended it.", ["part"]
)
background_errors = Counter(
    "argosy_background_errors", "Errors that a background part survived: bugs, not outages.", ["part"]
)
error_reports = Counter(
    "argosy_error_reports", "Reports of bugs: sent, held back as one had just been sent, or lost.", ["result"]
)
spans_dropped = Counter(
    "argosy_spans_dropped",
    "Spans that no collector got: too many waited, or it refused or did not answer.",
    ["reason"],
)
loop_lag_seconds = Gauge("argosy_loop_lag_seconds", "How late the event loop ran its last tick.")
conveyor_depth = Gauge("argosy_conveyor_depth", "Tickets in the stream that no worker has taken.", ["queue"])

children_cpu_seconds = Counter(
    "argosy_children_cpu_seconds", "CPU time of processes that this one has started and that have ended."
)

db_connections = Gauge(
    "argosy_db_connections", "Connections of this process's pool and callers waiting for one, by state.", ["state"]
)
db_wait_seconds = Histogram(
    "argosy_db_wait_seconds", "Time waited for a connection from the pool.", buckets=_SECONDS
)

http_requests = Counter("argosy_http_requests", "HTTP requests answered.", ["method", "route", "status"])
http_request_seconds = Histogram(
    "argosy_http_request_seconds", "Time to answer an HTTP request.", ["method", "route"],
    buckets=(0.0025, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)  # fmt: skip
"""Its buckets are few, as each is a line for every operation."""
requests_in_flight = Gauge("argosy_http_requests_in_flight", "HTTP requests in progress.")
requests_shed = Counter("argosy_http_requests_shed", "HTTP requests refused because of overload.", ["urgency"])
upload_bytes = Counter("argosy_http_upload_bytes", "Bytes of files that callers have sent.")
limiter_mode = Gauge(
    "argosy_limiter_mode", "1 for the current mode of the rate limiter: shared, alone or returning.", ["mode"]
)
redis_usable = Gauge("argosy_redis_usable", "1 while Redis can be used, 0 while not, by what for.", ["kind"])
limit_decisions = Counter("argosy_limit_decisions", "Rate-limit decisions.", ["policy", "decision"])

mail_recipients = Counter(
    "argosy_mail_recipients", "Recipients, by the state they entered; deferred ones count each time.", ["state"]
)

mail_relay_refusals = Counter(
    "argosy_mail_relay_refusals",
    "Refusals of the mailer or of a sender by a relay, by the step of the dialogue and the reply code.",
    ["relay", "step", "code"],
)
smtp_replies = Counter(
    "argosy_smtp_replies", "Last replies to messages, by the first digit of the code.", ["relay", "code"]
)
smtp_connections = Gauge("argosy_smtp_connections", "Open connections to a relay.", ["relay", "state"])
mail_reports = Counter("argosy_mail_reports", "Bounces and complaints received.", ["kind"])

pages = Counter("argosy_ocr_pages", "Pages, by how their text was found.", ["result"])
page_seconds = Histogram(
    "argosy_ocr_page_seconds", "Time to read one page, by the source of its text.", ["source"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128),
)  # fmt: skip

events = Counter("argosy_events", "Events, by what became of them; late ones are also counted.", ["outcome"])
events_lag_seconds = Histogram(
    "argosy_events_lag_seconds", "Time from the acceptance of events until they count.", buckets=_SECONDS
)
events_batch_size = Histogram(
    "argosy_events_batch_size", "Events in one job.", buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)
)
rollup_drift = Gauge("argosy_rollup_drift", "By how much counts were wrong at the last check. It must be 0.")
analytics_query_seconds = Histogram(
    "argosy_analytics_query_seconds", "Time to answer a query or to make a report, by its kind.", ["kind"],
    buckets=_SECONDS,
)  # fmt: skip
search_seconds = Histogram(
    "argosy_search_seconds", "Time to find opportunities, by their order.", ["order"], buckets=_SECONDS
)
partitions_ahead_days = Gauge(
    "argosy_partitions_ahead_days", "Days from today for which there are partitions of events."
)

sync_fetches = Counter("argosy_sync_fetches", "Requests to sources, by the status of the answer.", ["status"])
sync_fetch_seconds = Histogram(
    "argosy_sync_fetch_seconds", "Time of a request to a source, with its body.", buckets=_SECONDS
)
sync_bytes = Counter("argosy_sync_bytes", "Bytes of answers of sources, as they came over the wire.")
sync_host_wait_seconds = Histogram(
    "argosy_sync_host_wait_seconds", "Time waited for the turn to ask a host.", buckets=_SECONDS
)
sync_refused_addresses = Counter(
    "argosy_sync_refused_addresses", "Connections refused because the address is not public."
)
sync_records = Counter("argosy_sync_records", "Records of sources, by what became of them.", ["outcome"])
sync_oldest_success_seconds = Gauge(
    "argosy_sync_oldest_success_seconds",
    "How long ago the source that waits longest was read, of those not paused.",
)
export_rows = Counter("argosy_export_rows", "Rows written to files.", ["dataset", "format"])
export_bytes = Counter("argosy_export_bytes", "Bytes of files written.")
export_seconds = Histogram(
    "argosy_export_seconds", "Time to write a file.", ["format"], buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 900)
)
export_first_byte_seconds = Histogram(
    "argosy_export_first_byte_seconds", "Time from the beginning of a job to the first bytes of its file.",
    buckets=_SECONDS,
)  # fmt: skip
export_snapshot_age_seconds = Gauge(
    "argosy_export_snapshot_age_seconds", "Age of the oldest snapshot that exports hold now."
)
export_downloads = Counter("argosy_export_downloads", "Files downloaded, with a key or by a link.", ["how"])


def show_from_the_start(counter: Counter | Histogram, **values: Iterable[str]) -> None:
    """Export `counter` with every combination of these values of its labels, at 0.

    A series that appears with its first event has no increase that an alert could see.
    """
    for combination in product(*values.values()):
        counter.labels(**dict(zip(values, combination, strict=True)))
