"""`make monitor`: Prometheus and Alertmanager beside the fleet, with the rules of deploy/prometheus.

Workers take any free port for their metrics, and another one at each start. So the targets are written anew every
few seconds, from the ports at which the fleet's processes listen.
"""

import json
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from deploy.local import debian_programs, supervisor
from deploy.local.errors import CannotRun
from deploy.local.ports import free_port, why_not
from deploy.local.settings import GATEWAY, WORKERS
from deploy.local.state import ROOT, RUN, shown

RULES = ROOT / "deploy" / "prometheus" / "rules"
SCRAPE_EVERY_S = 5
PROMETHEUS_PORT, ALERTMANAGER_PORT = 9090, 9093
READY_WITHIN_S = 30.0
KEPT = "2d"
NAMESPACE = "local"
"""What rules and boards know this fleet by."""
NOT_INSTALLED = "not installed (sudo apt-get install prometheus-alertmanager)"
SHOWN_ONLY = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
"""Alerts are shown by Alertmanager, and sent to nobody."""


def monitor() -> None:
    """Watch the fleet until Ctrl-C. Raises CannotRun."""
    supervisor.need()
    folder = RUN / "monitor"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with watching(folder) as addresses:
        print(f"Prometheus:   {addresses['prometheus']}/alerts")
        print(f"Alertmanager: {addresses.get('alertmanager', NOT_INSTALLED)}")
        print(f"Data of {KEPT} in {shown(folder)}. Ctrl-C ends it; the fleet goes on.", flush=True)
        with suppress(KeyboardInterrupt):
            keep_targets(folder, threading.Event())


@contextmanager
def watching(folder: Path) -> Iterator[Mapping[str, str]]:
    """Run them while the block runs: their addresses by name. Raises CannotRun if one of them does not start.

    Alertmanager runs only where it is installed: Debian's looks for its templates in one place.
    """
    folder.mkdir(parents=True, exist_ok=True)
    prometheus, alertmanager = debian_programs.find("prometheus"), shutil.which("prometheus-alertmanager")
    ports = {"prometheus": _port(PROMETHEUS_PORT)}
    if alertmanager:
        ports["alertmanager"] = _port(ALERTMANAGER_PORT)
    # JSON is YAML too.
    (folder / "prometheus.yml").write_text(json.dumps(_configuration(folder, ports.get("alertmanager")), indent=1))
    (folder / "alertmanager.yml").write_text(json.dumps(SHOWN_ONLY))
    write_targets(folder, {})
    commands = {
        "prometheus": [
            prometheus, f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data", f"--storage.tsdb.retention.time={KEPT}",
        ],
        "alertmanager": [
            alertmanager or "", f"--config.file={folder}/alertmanager.yml",
            f"--storage.path={folder}/alerts", "--cluster.listen-address=",
        ],
    }  # fmt: skip
    addresses = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    with ExitStack() as running:
        for name, address in addresses.items():
            command = [*commands[name], f"--web.listen-address={address}"]
            running.enter_context(_running(command, folder / f"{name}.log"))
        for name, address in addresses.items():
            _await_ready(f"http://{address}", folder / f"{name}.log")
        yield {name: f"http://{address}" for name, address in addresses.items()}


def keep_targets(folder: Path, stop: threading.Event) -> None:
    """Tell Prometheus where the fleet's metrics are, again and again until `stop`. Raises CannotRun."""
    while not stop.is_set():
        write_targets(folder, _pids_of_fleet())
        stop.wait(SCRAPE_EVERY_S)


def write_targets(folder: Path, pids: Mapping[str, Iterable[int]]) -> None:
    """Tell Prometheus where the metrics of these processes are, by service."""
    targets = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"service": service, "namespace": NAMESPACE}}
        for service, its_pids in pids.items()
        for pid in its_pids
        for port in _ports_with_metrics(pid)
    ]
    written = folder / "targets.json.new"
    written.write_text(json.dumps(targets))
    written.rename(folder / "targets.json")


def _configuration(folder: Path, alertmanager_port: int | None) -> dict[str, Any]:
    alertmanagers = [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager_port}"]}]}]
    return {
        "global": {"scrape_interval": f"{SCRAPE_EVERY_S}s", "evaluation_interval": f"{SCRAPE_EVERY_S}s"},
        "rule_files": [str(path) for path in sorted(RULES.glob("*.yml"))],
        "alerting": {"alertmanagers": alertmanagers if alertmanager_port else []},
        "scrape_configs": [
            {
                "job_name": "argosy",
                "file_sd_configs": [{"files": [str(folder / "targets.json")], "refresh_interval": "5s"}],
            }
        ],
    }


def _pids_of_fleet() -> dict[str, list[int]]:
    known = supervisor.statuses()
    return {name: supervisor.pids(name) for name in (GATEWAY, *WORKERS) if name in known}


def _ports_with_metrics(pid: int) -> list[int]:
    """The ports at which a process listens and answers with metrics; none if it has ended."""
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return []
    ports = {one.laddr.port for one in connections if one.status == psutil.CONN_LISTEN}
    return [port for port in sorted(ports) if _has_metrics(port)]


def _has_metrics(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=1) as answer:
            return b"argosy_" in answer.read(64 * 1024)
    except (OSError, ValueError):  # ValueError: what answers does not speak HTTP
        return False


def _port(usual: int) -> int:
    return usual if why_not(usual) is None else free_port()


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[None]:
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_ready(address: str, log: Path) -> None:
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until:
        with suppress(OSError), urllib.request.urlopen(f"{address}/-/ready", timeout=1):  # noqa: S310
            return
        time.sleep(0.1)
    raise CannotRun(f"{address} does not answer; {shown(log)} says why.")
