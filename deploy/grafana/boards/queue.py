"""What waits in a queue, what runs, and what becomes of it."""

from deploy.grafana.panels import Board, Query, Row, Unit, lines, number, per_second, percentiles

QUEUE = 'queue=~"$queue"'


def ended(outcome: str) -> str:
    """Attempts of the last 15 minutes with that outcome."""
    series = f'argosy_attempts_finished_total{{{QUEUE},outcome=~"{outcome}"}}'
    return f"sum by (queue) (increase({series}[15m]))"


WAITING = Row(
    "Waiting",
    (
        lines(
            "Unfinished jobs by state",
            Unit.COUNT,
            "What the ledger holds. Without a worker, `queued` ones stay.",
            Query(f"argosy:jobs{{{QUEUE}}}", "{{queue}} {{state}}"),
            alerts=("ArgosyNobodyWorks",),
        ),
        lines(
            "Oldest waiting job",
            Unit.SECONDS,
            "How long it has been due.",
            Query(f"argosy:oldest_waiting_seconds{{{QUEUE}}}", "{{queue}}"),
            alerts=("ArgosyQueueOld",),
        ),
        lines(
            "Wait",
            Unit.SECONDS,
            "From due to started.",
            *percentiles("argosy_job_wait_seconds", "queue", QUEUE),
        ),
        lines(
            "Started late (1 h)",
            Unit.SHARE,
            "Jobs that began later than a minute after they were due.",
            Query(f"argosy:start_late:ratio_rate1h{{{QUEUE}}}", "{{queue}}"),
        ),
        lines(
            "Tickets",
            Unit.PER_SECOND,
            "Published on NATS, by reason. `lost` ones had to be published again.",
            per_second("argosy_tickets_published_total", "queue, reason", QUEUE),
            alerts=("ArgosyTicketsLost",),
        ),
        lines(
            "Tickets not taken",
            Unit.COUNT,
            "In the stream. It is kept short, and is no measure of the backlog.",
            Query(f"max by (queue) (argosy_conveyor_depth{{{QUEUE}}})", "{{queue}}"),
        ),
        lines(
            "Paused",
            Unit.COUNT,
            "1 while a queue is paused.",
            Query(f"argosy:queue_paused{{{QUEUE}}}", "{{queue}}"),
            alerts=("ArgosyQueuePausedLong",),
        ),
        lines(
            "Caps",
            Unit.COUNT,
            "Jobs of a queue that may run at once. A queue without a cap is not shown.",
            Query(f"max by (queue) (argosy_queue_cap{{{QUEUE}}})", "{{queue}}", quiet=True),
        ),
    ),
)
RUNNING = Row(
    "Running",
    (
        lines(
            "Slots",
            Unit.COUNT,
            "Wanted, there, and busy. Autoscaling follows those that are wanted.",
            Query(f"argosy:slots_wanted{{{QUEUE}}}", "{{queue}} wanted"),
            Query(f"argosy:slots{{{QUEUE}}}", "{{queue}} there"),
            Query(f"sum by (queue) (argosy_jobs_running{{{QUEUE}}})", "{{queue}} busy"),
            alerts=("ArgosyAtMaximum",),
        ),
        lines(
            "Workers",
            Unit.COUNT,
            "Processes that live, by the ledger.",
            Query(f"max by (queue) (argosy_workers{{{QUEUE}}})", "{{queue}}"),
        ),
        lines(
            "Errors by code",
            Unit.PER_SECOND,
            "Of attempts that failed or were put off. `docs/errors.md` says what each code means.",
            per_second("argosy_attempt_errors_total", "queue, code", QUEUE),
        ),
        lines(
            "Run time",
            Unit.SECONDS,
            "From the start to the end of an attempt.",
            *percentiles("argosy_job_run_seconds", "queue", QUEUE),
        ),
        lines(
            "Attempts by outcome",
            Unit.PER_SECOND,
            "`queued` ones are tried again.",
            per_second("argosy_attempts_finished_total", "queue, outcome", QUEUE),
        ),
        lines(
            "Jobs that fail (15 min)",
            Unit.SHARE,
            "Of those that ended with a success or a failure.",
            Query(f"{ended('failed')} / {ended('failed|succeeded')}", "{{queue}}"),
            alerts=("ArgosyJobsFail",),
        ),
        lines(
            "Asked to give way",
            Unit.PER_SECOND,
            "Running jobs that made room for other tenants. If always: more workers.",
            per_second("argosy_jobs_preempted_total", "queue", QUEUE),
        ),
        lines(
            "Poisoned jobs (1 h)",
            Unit.COUNT,
            "Jobs that failed because several workers died while running them.",
            Query(f"sum by (queue) (increase(argosy_jobs_poisoned_total{{{QUEUE}}}[1h]))", "{{queue}}"),
            alerts=("ArgosyJobsPoisoned",),
        ),
    ),
)
SCHEDULES = Row(
    "Schedules and retention, of all queues",
    (
        number(
            "Overdue schedules",
            Unit.COUNT,
            "sum(argosy:schedules_overdue{})",
            "Their next run should have been made a minute ago or earlier.",
            alerts=("ArgosySchedulesOverdue",),
            alarming_from=1,
        ),
        number(
            "Missed runs (24 h)",
            Unit.COUNT,
            "sum(increase(argosy_schedule_missed_total{}[24h]))",
            "Skipped, because no gateway ran at their time.",
            alerts=("ArgosySchedulesMissed",),
            alarming_from=1,
        ),
        number(
            "Runs made late (p95, 1 h)",
            Unit.SECONDS,
            "histogram_quantile(0.95, sum by (le) (rate(argosy_schedule_late_seconds_bucket{}[1h])))",
            "From a schedule's time to its job.",
        ),
        number(
            "Removed before their time (1 h)",
            Unit.COUNT,
            'sum(increase(argosy_jobs_removed_total{reason="bytes"}[1h]))',
            "Ended jobs that retention removed for want of space.",
            alerts=("ArgosyRemovedBeforeTime",),
            alarming_from=1,
        ),
        number(
            "Replays that run",
            Unit.COUNT,
            "max(argosy_replays_running{} and on (namespace, instance) argosy:freshest_gateway{})",
            "They put failed jobs back at a rate.",
        ),
        number(
            "Folders to be removed",
            Unit.COUNT,
            "max(argosy_trash_folders{} and on (namespace, instance) argosy:freshest_gateway{})",
            "Of jobs that are gone, in the blob store.",
        ),
        lines(
            "Removed by retention",
            Unit.PER_SECOND,
            "Ended jobs, by reason.",
            per_second("argosy_jobs_removed_total", "reason"),
        ),
        lines(
            "Stored files by queue",
            Unit.BYTES,
            "Uploads and artifacts of the jobs in the ledger.",
            Query(f"argosy:stored_bytes{{{QUEUE}}}", "{{queue}}"),
        ),
    ),
)
QUEUES = Board(
    "queue",
    "Argosy: Queue",
    "Why does a job not run? What waits and runs in the queues that are chosen, and what becomes of it.",
    (WAITING, RUNNING, SCHEDULES),
    by_queue=True,
)
