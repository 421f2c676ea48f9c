"""Every alert fires when it should, stays silent when it should, and leads to a page that says what to do.

The rules are Prometheus' own business, so its own promtool runs them over made-up series.
"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from deploy.local import debian_programs
from libs.common import metrics

FOLDER = Path(__file__).parents[4] / "deploy" / "prometheus"
RULES = sorted((FOLDER / "rules").glob("*.yml"))
STEP_S = 15


@dataclass(frozen=True)
class Case:
    """Series in promtool's notation, without `namespace`, and whether the alert fires after `minutes`."""

    alert: str
    fires: bool
    minutes: float
    series: dict[str, str]

    @property
    def document(self) -> dict[str, Any]:
        """The test as promtool reads it."""
        fired = f'count(ALERTS{{alertname="{self.alert}", alertstate="firing"}} > 0) or vector(0)'
        return {
            "name": f"{self.alert} {'fires' if self.fires else 'is silent'}",
            "interval": f"{STEP_S}s",
            "input_series": [
                {"series": series.replace("{", '{namespace="p",', 1), "values": values}
                for series, values in self.series.items()
            ],
            "promql_expr_test": [
                {
                    "expr": f"sgn({fired})",
                    "eval_time": f"{int(self.minutes * 60)}s",
                    "exp_samples": [{"labels": "{}", "value": int(self.fires)}],
                }
            ],
        }


G1, G2 = 'instance="g1",service="gateway"', 'instance="g2",service="gateway"'
FRESH = {f"argosy_accounting_timestamp_seconds{{{G1}}}": "0+15x2000"}
OLD = {f"argosy_accounting_timestamp_seconds{{{G2}}}": "1+0x2000"}
"""A second gateway, which has lost the database: its figures must not count."""
QUIET_WORKER = {'argosy_accounting_timestamp_seconds{instance="w1",service="ocr"}': "0+0x2000"}


def ledger(name: str, labels: str, now: str, old: str = "7+0x2000") -> dict[str, str]:
    """A fact of the ledger as a fresh gateway and an outdated one tell it."""
    inside = f",{labels}" if labels else ""
    return FRESH | OLD | QUIET_WORKER | {f"{name}{{{G1}{inside}}}": now, f"{name}{{{G2}{inside}}}": old}


def case(alert: str, fires: bool, minutes: float, *series: dict[str, str]) -> Case:
    merged: dict[str, str] = {}
    for some in series:
        merged |= some
    return Case(f"Argosy{alert}", fires, minutes, merged)


def both(alert: str, minutes: float, loud: dict[str, str], silent: dict[str, str]) -> Iterator[Case]:
    yield case(alert, True, minutes, loud)
    yield case(alert, False, minutes, silent)


def counted(name: str, before: str = "0+0x20 1+0x200") -> dict[str, str]:
    return {name: before}


def requests(errors: str, good: str) -> dict[str, str]:
    return {
        'argosy_http_requests_total{instance="g1",route="submit_ocr",status="503"}': errors,
        'argosy_http_requests_total{instance="g1",route="submit_ocr",status="202"}': good,
    }


def accepts(slow: str, fast: str) -> dict[str, str]:
    labels = 'instance="g1",method="POST",route="submit_ocr"'
    return {
        f'argosy_http_request_seconds_bucket{{{labels},le="0.25"}}': fast,
        f"argosy_http_request_seconds_count{{{labels}}}": slow,
    }


def attempts(failed: str, succeeded: str) -> dict[str, str]:
    return {
        'argosy_attempts_finished_total{instance="w1",queue="ocr",outcome="failed"}': failed,
        'argosy_attempts_finished_total{instance="w1",queue="ocr",outcome="succeeded"}': succeeded,
    }


def recipients(**by_state: str) -> dict[str, str]:
    return {
        f'argosy_mail_recipients_total{{instance="m1",state="{state}"}}': values
        for state, values in by_state.items()
    }


def reports(kind: str, values: str) -> dict[str, str]:
    return {f'argosy_mail_reports_total{{instance="m1",kind="{kind}"}}': values}


def events(**by_outcome: str) -> dict[str, str]:
    return {
        f'argosy_events_total{{instance="a1",outcome="{outcome}"}}': values
        for outcome, values in by_outcome.items()
    }


SLOTS = 'argosy_slots{instance="g1",queue="ocr"}'
PAUSED = 'argosy_queue_paused{instance="g1",queue="ocr"}'
WANTED = 'argosy_slots_wanted{instance="g1",queue="ocr"}'
BYTES_ALLOWED = {f"argosy_stored_bytes_allowed{{{G1}}}": "100+0x2000"}


def cases() -> Iterator[Case]:
    queue = 'queue="ocr"'
    queued = f'{queue},state="queued"'
    yield from both("JobsUnaccounted", 8, ledger("argosy_jobs_unaccounted", queue, "-1+0x200"),
                    ledger("argosy_jobs_unaccounted", queue, "0+0x200"))  # fmt: skip
    yield from both("AccountingStale", 25, OLD | QUIET_WORKER, FRESH | OLD)
    yield from both("BackgroundPartDied", 8, counted('argosy_background_deaths_total{instance="w",part="lease"}'),
                    counted('argosy_background_deaths_total{instance="w",part="lease"}', "1+0x200"))  # fmt: skip
    yield from both("BackgroundPartFails", 8, counted('argosy_background_errors_total{instance="w",part="lease"}'),
                    counted('argosy_background_errors_total{instance="w",part="lease"}', "4+0x200"))  # fmt: skip
    # Not seen is what appears with its first event: so every process shows its counters from the start.
    yield from both("WritesRefused", 8, counted('argosy_jobs_fenced_total{instance="w",queue="ocr"}'),
                    counted('argosy_jobs_fenced_total{instance="w",queue="ocr"}', "_x20 1+0x200"))  # fmt: skip
    yield from both("ErrorBudgetBurnsFast", 70, requests("0+2x300", "0+98x300"), requests("0+1x300", "0+99x300"))
    yield from both("ErrorBudgetBurnsSlowly", 400, requests("0+1x1700", "0+99x1700"),
                    requests("0+1x1700", "0+499x1700"))  # fmt: skip
    yield from both("AcceptSlow", 70, accepts("0+100x300", "0+98x300"), accepts("0+1000x300", "0+995x300"))
    yield from both("NobodyWorks", 5, ledger("argosy_jobs", queued, "3+0x200") | {SLOTS: "0+0x200"},
                    ledger("argosy_jobs", queued, "3+0x200") | {SLOTS: "2+0x200"})  # fmt: skip
    yield case(
        "NobodyWorks", False, 5, ledger("argosy_jobs", queued, "0+0x200", old="900+0x200"), {SLOTS: "0x200"}
    )
    waits = ledger("argosy_oldest_waiting_seconds", queue, "700+15x200")
    yield from both("QueueOld", 8, waits | {PAUSED: "0+0x200"}, waits | {PAUSED: "1+0x200"})
    yield case("QueueOld", False, 8, ledger("argosy_oldest_waiting_seconds", queue, "60+0x200", old="9000+0x200"))
    yield from both("QueuePausedLong", 250, {PAUSED: "1+0x1100"}, {PAUSED: "1+0x500 0+0x10 1+0x600"})
    yield from both("JobsFail", 20, attempts("0+1x200", "0+2x200"), attempts("0+1x200", "0+9x200"))
    yield case("JobsFail", False, 20, attempts("0+0x60 4+0x200", "0+0x200"))
    yield from both("JobsPoisoned", 8, counted(f"argosy_jobs_poisoned_total{{{G1},{queue}}}"),
                    counted(f"argosy_jobs_poisoned_total{{{G1},{queue}}}", "3+0x200"))  # fmt: skip
    yield from both("WorkersDie", 8, counted(f"argosy_jobs_recovered_total{{{G1}}}"),
                    counted(f"argosy_jobs_recovered_total{{{G1}}}", "3+0x200"))  # fmt: skip
    lost = f'argosy_tickets_published_total{{{G1},{queue},reason="lost"}}'
    yield from both("TicketsLost", 25, {lost: "0+3x200"}, {lost: "0+0x20 9+0x200"})
    yield from both("AtMaximum", 30, waits | {WANTED: "9+0x200", SLOTS: "4+0x200"},
                    waits | {WANTED: "8+0x200", SLOTS: "4+0x200"})  # fmt: skip
    yield from both("SchedulesMissed", 8, counted(f"argosy_schedule_missed_total{{{G1}}}"),
                    counted(f"argosy_schedule_missed_total{{{G1}}}", "3+0x200"))  # fmt: skip
    yield from both("SchedulesOverdue", 15, ledger("argosy_schedules_overdue", "", "2+0x200", old="0x200"),
                    ledger("argosy_schedules_overdue", "", "0+0x200"))  # fmt: skip
    yield from both("TargetDown", 5, {'up{instance="w1",service="ocr"}': "1x4 0x200"},
                    {'up{instance="w1",service="ocr"}': "1x4 0x4 1x200",
                     'up{instance="n",service="node"}': "0x200"})  # fmt: skip
    yield from both(
        "GatewaysGone", 5, {f"up{{{G1}}}": "1x4 0x200"}, {f"up{{{G1}}}": "0x200", f"up{{{G2}}}": "1x200"}
    )
    yield from both("LoopLags", 6, {f"argosy_loop_lag_seconds{{{G1}}}": "0.3+0x200"},
                    {f"argosy_loop_lag_seconds{{{G1}}}": "0.3x3 0 0.3x3 0 0.3x3 0 0.3x3 0 0.3x3"})  # fmt: skip
    yield from both("PoolExhausted", 6, {f'argosy_db_connections{{{G1},state="waiting"}}': "2+0x200"},
                    {f'argosy_db_connections{{{G1},state="in_use"}}': "9+0x200"})  # fmt: skip
    yield from both("LimiterAlone", 4, {f'argosy_limiter_mode{{{G1},mode="alone"}}': "1+0x200"},
                    {f'argosy_limiter_mode{{{G1},mode="alone"}}': "0x4 1 0x200",
                     f'argosy_limiter_mode{{{G1},mode="shared"}}': "1x200"})  # fmt: skip
    yield from both("RedisUnusable", 4, {f'argosy_redis_usable{{{G1},kind="limits"}}': "0+0x200"},
                    {f'argosy_redis_usable{{{G1},kind="limits"}}': "1 0 1+0x200"})  # fmt: skip
    shed = f'argosy_http_requests_shed_total{{{G1},urgency="submit"}}'
    yield from both("RequestsShed", 12, {shed: "0+1x200"}, {shed: "5+0x200"})
    failed = f'argosy_storage_errors_total{{{G1},operation="write",error="full"}}'
    yield from both("StorageErrors", 12, {failed: "0+1x200"}, {failed: "5+0x200"})
    stored = ledger("argosy_stored_bytes", queue, "95+0x2000", old="10x2000") | BYTES_ALLOWED
    yield from both("StorageNearlyFull", 65, stored,
                    ledger("argosy_stored_bytes", queue, "80+0x2000", old="99x2000") | BYTES_ALLOWED)  # fmt: skip
    yield from both("RemovedBeforeTime", 8, counted(f'argosy_jobs_removed_total{{{G1},reason="bytes"}}'),
                    counted(f'argosy_jobs_removed_total{{{G1},reason="age"}}'))  # fmt: skip
    yield from both("MailBounces", 60, recipients(sent="0+9x300", bounced="0+1x300"),
                    recipients(sent="0+99x300", bounced="0+1x300"))  # fmt: skip
    yield case("MailBounces", True, 60, recipients(sent="0+9x300", bounced="0x300") | reports("bounce", "0+1x300"))
    yield from both("MailComplaints", 100, recipients(sent="0+10x500") | reports("complaint", "0+1x500"),
                    recipients(sent="0+10x500") | reports("complaint", "0x100 1x400"))  # fmt: skip
    refused = 'argosy_mail_relay_refusals_total{instance="m1",relay="mx.one.test",step="mail",code="550"}'
    yield from both("RelayRefuses", 20, {refused: "0+1x200"}, {refused: "0x20 2+0x200"})
    silent = 'argosy_mail_relay_refusals_total{instance="m1",relay="mx.one.test",step="connect",code="none"}'
    taken = 'argosy_smtp_replies_total{instance="m1",relay="mx.one.test",code="2xx"}'
    yield from both("RelayAway", 20, {silent: "0x20 1+0x40 2+0x200", taken: "7+0x300"},
                    {silent: "0x20 1+0x40 2+0x200", taken: "0+1x300"})  # fmt: skip
    yield from both("RollupDrift", 1, {'argosy_rollup_drift{instance="a1"}': "2+0x20"},
                    {'argosy_rollup_drift{instance="a1"}': "0+0x20"})  # fmt: skip
    yield from both("EventsRejected", 25, events(counted="0+9x200", rejected="0+1x200"),
                    events(counted="0+99x200", rejected="0+1x200"))  # fmt: skip
    # Every process exports this number; those that do not count events have 0.
    ahead = 'argosy_partitions_ahead_days{instance="a1",service="analytics"}'
    others = {f"argosy_partitions_ahead_days{{{G1}}}": "0x300"}
    yield from both("PartitionsEnd", 65, {ahead: "6x300"} | others, {ahead: "9x300"} | others)

    stale = 'argosy_sync_oldest_success_seconds{instance="s1",service="sync"}'
    yield from both("SourcesStale", 65, {stale: "90000+15x300"}, {stale: "3600+15x300"})
    held = 'argosy_export_snapshot_age_seconds{instance="e1",service="exporter"}'
    yield from both("SnapshotHeld", 15, {held: "0+15x100"}, {held: "0+15x20 0x80"})


CASES = list(cases())


def promtool(*arguments: str) -> None:
    command = [debian_programs.find("promtool"), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def rules() -> list[dict[str, Any]]:
    groups = [group for file in RULES for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = [rule for rule in rules() if "alert" in rule]


def test_each_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    file = tmp_path / "test.yml"
    document = {
        "rule_files": [str(rule) for rule in RULES],
        "evaluation_interval": "1m",
        "tests": [one.document for one in CASES],
    }
    file.write_text(yaml.safe_dump(document))
    promtool("test", "rules", str(file))


def test_every_alert_is_tested_both_ways() -> None:
    tested = {(one.alert, one.fires) for one in CASES}
    assert tested == {(alert["alert"], fires) for alert in ALERTS for fires in (True, False)}


def test_promtool_finds_no_fault() -> None:
    promtool("check", "rules", *map(str, RULES))


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_how_bad_it_is_and_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    page, _, heading = alert["annotations"]["runbook"].partition("#")
    text = (FOLDER / page).read_text()
    assert heading == alert["alert"].lower()
    section = re.search(rf"^## {alert['alert']}\n(.*?)(?=^## |\Z)", text, re.S | re.M)
    assert section, f"{page} has no section of this alert"
    for step in ("**Means:**", "**Look:**", "**Do:**"):
        assert step in section[1]


def test_every_metric_that_a_rule_reads_is_exported() -> None:
    exported = {metric._name for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)}
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for rule in rules():
        for name in re.findall(r"\bargosy[_:][a-z0-9_:]+", rule["expr"]):
            plain = re.sub(r"_(total|bucket|count|sum)$", "", name)
            assert name in recorded or plain in exported, f"{name} in {rule.get('alert') or rule['record']}"
