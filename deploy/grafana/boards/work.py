"""The row that the boards of all workers have: what becomes of their jobs."""

from deploy.grafana.panels import Query, Row, Unit, lines, per_second, quantile


def work_of(queue: str) -> Row:
    """The jobs of one queue."""
    selector = f'queue="{queue}"'
    return Row(
        "Jobs",
        (
            lines(
                "Jobs by outcome",
                Unit.PER_SECOND,
                "Attempts that ended; `queued` ones are tried again.",
                per_second("argosy_attempts_finished_total", "outcome", selector),
            ),
            lines(
                "Wait and run",
                Unit.SECONDS,
                "p95 of the time from due to started, and from there to the end.",
                quantile(0.95, "argosy_job_wait_seconds", selector=selector, legend="wait"),
                quantile(0.95, "argosy_job_run_seconds", selector=selector, legend="run"),
            ),
            lines(
                "Slots of the workers",
                Unit.COUNT,
                "Busy ones, of those that are there.",
                Query(f"sum(argosy_jobs_running{{{selector}}})", "busy"),
                Query(f"sum(argosy:slots{{{selector}}})", "there"),
            ),
        ),
    )
