"""make bench-telemetry: what traces, reports of bugs and scrapes cost a gateway.

Two gateways on the same servers take durable POSTs in turn: one that tells nobody of itself, and one with a
collector, a server of errors, TRACING_SHARE 0.01 and a scrape a second. Requests per second and CPU time per
request are compared within each pair of runs, as other programs on the machine change both.
"""

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import uvloop

from benchmarks.gateway.__main__ import LIMITS, POST, Row, key_for, measure, started
from deploy.local.test_servers import free_port, trio
from deploy.migrations.__main__ import upgrade
from libs.common.config import DatabaseSettings

CONNECTIONS = 64
SCRAPES_AT_ONCE = 20


class _Sink(BaseHTTPRequestHandler):
    """Takes traces and reports, and forgets them."""

    def do_POST(self) -> None:
        """Say that it was taken."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@contextmanager
def sink() -> Iterator[int]:
    """The port of a collector."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Sink)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@contextmanager
def scraped(port: int) -> Iterator[None]:
    """Ask for /metrics once a second while the block runs."""
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(1):
            with suppress(OSError):
                scrape(port)

    thread = threading.Thread(target=ask)
    thread.start()
    yield
    ended.set()
    thread.join()


def scrape(port: int) -> bytes:
    """The page of metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        page: bytes = answer.read()
        return page


def cpu_s(url: str) -> float:
    """CPU time that the process listening at `url` has used."""
    port = int(url.rpartition(":")[2])
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("GATEWAY_PORT") == str(port) and process.ppid() == os.getpid():
                times = process.cpu_times()
                return times.user + times.system
    raise RuntimeError("there is no such process")


def main(pairs: int, seconds: int) -> None:
    """Measure, and print the figures."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        three = stack.enter_context(trio(folder))
        settings = DatabaseSettings.model_validate({"database_url": three.postgres.url})
        upgrade(settings)
        key = uvloop.run(key_for(settings))
        collector = stack.enter_context(sink())
        silent = {
            "DATABASE_URL": three.postgres.url, "REDIS_URL": three.redis.url, "NATS_URL": three.nats.url,
            "BLOB_URL": f"file://{folder}/blobs", "PROBES_PORT": "0", "LIMITS": LIMITS, "LIMITS_BUDGET_MS": "1000",
        }  # fmt: skip
        probes = free_port()
        telling = silent | {
            "TRACING_URL": f"http://127.0.0.1:{collector}", "TRACING_SHARE": "0.01", "PROBES_PORT": str(probes),
            "ERRORS_DSN": f"http://key@127.0.0.1:{collector}/1",
        }  # fmt: skip
        command = [sys.executable, "-m", "benchmarks.gateway.served"]
        headers = (f"Authorization: Bearer {key}",)
        urls = [stack.enter_context(started(command, environment, folder)) for environment in (silent, telling)]
        off, on = (Row(url, f"{url}/work", script=POST, headers=headers) for url in urls)
        rates, costs = [], []
        with scraped(probes):
            for number in range(pairs):
                found = {}
                for row in (off, on) if number % 2 else (on, off):
                    before = cpu_s(row.name)
                    per_s, _p50, _p99, errors = measure(row, CONNECTIONS, seconds, folder)
                    if errors:
                        raise RuntimeError(f"{errors} requests failed")
                    found[row] = per_s, (cpu_s(row.name) - before) / (per_s * seconds) * 1e6
                rates.append(found[on][0] / found[off][0])
                costs.append(found[on][1] / found[off][1])
                print(
                    f"off {found[off][0]:6,.0f}/s {found[off][1]:5.0f} µs CPU   "
                    f"on {found[on][0]:6,.0f}/s {found[on][1]:5.0f} µs CPU   ratio {rates[-1]:.3f}",
                    flush=True,
                )
        _publish(rates, costs, probes)


def _publish(rates: list[float], costs: list[float], probes: int) -> None:
    times = []
    for _ in range(SCRAPES_AT_ONCE):
        begun = time.perf_counter()
        page = scrape(probes)
        times.append((time.perf_counter() - begun) * 1000)
    print(f"requests/s on ÷ off: {statistics.median(rates):.3f} ({min(rates):.3f}–{max(rates):.3f})")
    print(f"CPU a request on ÷ off: {statistics.median(costs):.3f} ({min(costs):.3f}–{max(costs):.3f})")
    print(f"a scrape: {statistics.median(times):.1f} ms, {len(page) / 1000:.0f} kB; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=5)
    given = parser.parse_args()
    main(given.pairs, given.seconds)
