"""make bench-gateway: requests per second with 64 and 1,000 connections, one process each, in three rounds.

Bare Starlette is the baseline. The gateway authenticates every request, applies six rate limit policies, and
writes metrics and logs. A small job is committed with fsync on before the 202. The peers accept the same job
without authentication and limits, and their Redis writes it to its append-only file up to a second later.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from benchmarks.peers.contenders import INSTALLED, CannotInstall, install_node, install_python
from deploy.local import servers
from deploy.local.test_servers import answers, free_port, running, trio
from deploy.migrations.__main__ import upgrade
from libs.common import db
from libs.common.config import DatabaseSettings
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import Role

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CONNECTIONS = (64, 1000)
POST = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"number": 17, "note": "a small job"}'
"""
LIMITS = "global=900000/s, ip=900000/s, burst=900000/s, api=900000/s"


@dataclass(frozen=True)
class Row:
    """A row of the table: its name, the URL, wrk's script for what is posted there, and the headers to send."""

    name: str
    url: str
    script: str = ""
    headers: Sequence[str] = ()


@dataclass
class Figures:
    """Results of one row at one number of connections, per round."""

    per_s: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    errors: int = 0


def measure(row: Row, connections: int, seconds: int, folder: Path) -> tuple[float, float, float, int]:
    """Run wrk. Returns requests per second, p50 and p99 in ms, and the number of errors."""
    script = folder / "post.lua"
    script.write_text(row.script)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "--latency"]
    command += ["-s", str(script)] if row.script else []
    command += [part for header in row.headers for part in ("-H", header)]
    output = subprocess.run([*command, row.url], capture_output=True, text=True, check=True).stdout
    found = {name: re.search(pattern, output) for name, pattern in _PATTERNS.items()}
    per_s, p50, p99 = found["per_s"], found["p50"], found["p99"]
    if not (per_s and p50 and p99):
        raise RuntimeError(f"wrk said: {output}")
    errors = sum(int(number) for number in re.findall(r"(?:connect|read|write|timeout) (\d+)", output))
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    return float(per_s[1]), _ms(p50), _ms(p99), errors + (int(refused[1]) if refused else 0)


_PATTERNS = {"per_s": r"Requests/sec:\s+([\d.]+)", "p50": r"50%\s+([\d.]+)(\w+)", "p99": r"99%\s+([\d.]+)(\w+)"}


def _ms(match: re.Match[str]) -> float:
    return float(match[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[match[2]]


@contextmanager
def started(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Iterator[str]:
    """Run a server on a free port while the block runs. Yields its URL."""
    port = str(free_port())
    variables = {**os.environ, **environment, "PORT": port, "GATEWAY_PORT": port}
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 30
            while not answers(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((folder / "log").read_text()[-2000:])
                time.sleep(0.05)
            yield url
        finally:
            process.kill()
            process.wait()


def ours(stack: ExitStack, folder: Path) -> list[Row]:
    """Start bare Starlette and the gateway. Returns their rows."""
    three = stack.enter_context(trio(folder))
    settings = DatabaseSettings.model_validate({"database_url": three.postgres.url})
    upgrade(settings)
    key = uvloop.run(key_for(settings))
    environment = {
        "DATABASE_URL": three.postgres.url,
        "REDIS_URL": three.redis.url,
        "NATS_URL": three.nats.url,
        "BLOB_URL": f"file://{folder}/blobs",
        "PROBES_PORT": "0",
        "LIMITS": LIMITS,
        "LIMITS_BUDGET_MS": "1000",
    }
    bare = stack.enter_context(started([sys.executable, "-m", "benchmarks.gateway.bare"], environment, folder))
    gateway = stack.enter_context(
        started([sys.executable, "-m", "benchmarks.gateway.served"], environment, folder)
    )
    headers = (f"Authorization: Bearer {key}",)
    return [
        Row("bare Starlette", f"{bare}/"),
        Row("bare + limits", f"{bare}/limited"),
        Row("the whole door", f"{gateway}/hello", headers=headers),
        Row("durable POST", f"{gateway}/work", script=POST, headers=headers),
    ]


async def key_for(settings: DatabaseSettings) -> str:
    """Issue a key that may submit jobs."""
    async with db.connect(settings, "bench", role=None) as database:
        return (await issue(database, "dev", "dev", "bench", Role.MEMBER)).key


def peers(stack: ExitStack, folder: Path) -> list[Row]:
    """Start the peers, each with a Redis of its own. Returns their rows."""
    commands: dict[str, list[str]] = {}
    web = ("fastapi>=0.120", "uvicorn[standard]>=0.38")
    for name, needs in {"arq": ("arq>=0.28",), "celery": ("celery[redis]>=5.7",)}.items():
        home = INSTALLED / f"fastapi-{name}"
        try:
            install_python(home, (*web, *needs))
            commands[f"FastAPI + {name}"] = [str(home / "bin" / "python"), str(HERE / f"fastapi_{name}.py")]
        except CannotInstall as reason:
            print(f"FastAPI + {name} is left out: {reason}", flush=True)
    try:
        install_node(HERE / "fastify_bullmq", INSTALLED / "fastify")
        commands["Fastify + BullMQ"] = ["node", str(INSTALLED / "fastify" / "server.mjs")]
    except CannotInstall as reason:
        print(f"Fastify + BullMQ is left out: {reason}", flush=True)
    rows = []
    for name, command in commands.items():
        place = folder / name.replace(" ", "")
        place.mkdir()
        server = servers.redis(place / "redis", free_port(), servers.new_password())
        stack.enter_context(running(server, place))
        url = stack.enter_context(started(command, {"BENCH_URL": server.url}, place))
        rows.append(Row(name, f"{url}/work", script=POST))
    return rows


def main(rounds: int, seconds: int) -> None:
    """Measure all rows, and print the tables."""
    if not shutil.which("wrk"):
        sys.exit("This needs wrk: apt-get install wrk")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        rows = [*ours(stack, folder), *peers(stack, folder)]
        found = {(row.name, connections): Figures() for row in rows for connections in CONNECTIONS}
        for number in range(rounds):
            for connections in CONNECTIONS:
                for row in rows:
                    measure(row, connections, 1, folder)
                    figures = found[row.name, connections]
                    per_s, p50_ms, p99_ms, errors = measure(row, connections, seconds, folder)
                    figures.per_s.append(per_s)
                    figures.p50_ms.append(p50_ms)
                    figures.p99_ms.append(p99_ms)
                    figures.errors += errors
            print(f"round {number + 1} of {rounds} done", flush=True)
    _publish(rows, found)


def _publish(rows: Sequence[Row], found: Mapping[tuple[str, int], Figures]) -> None:
    for connections in CONNECTIONS:
        print(f"\n{connections} connections, one process each; medians")
        print("                       requests/s   p50 ms   p99 ms  errors  ÷ bare")
        yardstick = found[rows[0].name, connections].per_s
        for row in rows:
            figures = found[row.name, connections]
            ratio = statistics.median(mine / bare for mine, bare in zip(figures.per_s, yardstick, strict=True))
            per_s, p50_ms, p99_ms = map(statistics.median, (figures.per_s, figures.p50_ms, figures.p99_ms))
            times = f"{per_s:12,.0f} {p50_ms:8.2f} {p99_ms:8.2f}"
            print(f"  {row.name:18} {times} {figures.errors:7} {ratio:7.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    arguments = parser.parse_args()
    main(arguments.rounds, arguments.seconds)
