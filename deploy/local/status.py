"""`make status`: what runs, which code, where everything is, what waits."""

import time
from collections.abc import Mapping

import psutil

from deploy.local import database_queries, program_specs, settings, state, supervisor, version
from deploy.local.changes import differences
from deploy.local.program_specs import Program
from deploy.local.settings import GATEWAY
from deploy.local.state import LOGS, RUN, State, shown
from deploy.local.table import table
from deploy.local.up import gateway_ready
from deploy.local.welcome import mail_page, metrics_url

STATES = ("scheduled", "queued", "running", "waiting")


def status() -> bool:
    """Print it; whether everything runs."""
    fleet = state.load()
    if not supervisor.alive():
        left = len(supervisor.leftovers())
        print(f"The fleet is down: `make up` starts it. Checked out is version {version.checked_out()}.")
        if left:
            print(f"{left} processes are left of a run whose supervisor died; `make up` and `make down` end them.")
        return False
    others = program_specs.beside_servers(fleet)
    expected = {name: 1 for name in program_specs.SERVERS if name not in settings.external(fleet)}
    expected |= {program.name: program.processes for program in others}
    statuses = supervisor.statuses()
    pids = {name: supervisor.pids(name) if name in statuses else [] for name in expected}
    all_run = all(statuses.get(name) == "active" and len(pids[name]) >= expected[name] for name in expected)
    _print_version(fleet, others)
    rows = [_row(name, statuses.get(name), pids[name], processes) for name, processes in expected.items()]
    print(table(("program", "state", "processes", "up for", "pid"), rows))
    print()
    all_run &= _print_queues(fleet, pids)
    ready = GATEWAY in statuses and gateway_ready(fleet)
    print(table(("place", "address"), _places(fleet, ready)))
    if fleet.settings:
        print(f"\nSettings given to `make up`: {', '.join(sorted(fleet.settings))}")
    if not (all_run and ready):
        print("\nNot everything runs. `make up` starts what is missing; `make logs S=…` shows why it ended.")
    return all_run and ready


def _print_version(fleet: State, programs_of_now: list[Program]) -> None:
    now = version.checked_out()
    before = fleet.started[GATEWAY].version if GATEWAY in fleet.started else "unknown"
    print(f"Argosy runs version {before}." + ("" if before == now else f" Checked out is {now}."))
    old = [program.name for program in programs_of_now if differences(fleet.started.get(program.name), program)]
    if old:
        print(f"`make up` will bring these to the code and settings that there are now: {', '.join(old)}.")
    print()


def _row(name: str, status: str | None, pids: list[int], expected: int) -> tuple[str, str, str, str, str]:
    ages = [age for pid in pids if (age := _age(pid)) is not None]
    word = "stopped"
    if status == "active":
        word = "running" if len(pids) >= expected else "incomplete"
    up_for = duration(min(ages)) if ages else "-"
    return name, word, f"{len(pids)} of {expected}", up_for, " ".join(map(str, pids)) or "-"


def _age(pid: int) -> float | None:
    try:
        return time.time() - psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def duration(seconds: float) -> str:
    """`42 s`, `3 min`, `5 h 12 min`, `3 d 4 h`."""
    seconds = max(0.0, seconds)  # clocks are set back now and then
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{int(seconds)} s"


def _print_queues(fleet: State, pids: Mapping[str, list[int]]) -> bool:
    """How the queues stand; whether each worker is known to the ledger."""
    if not database_queries.reachable(fleet):
        print("    queues: the database does not answer\n")
        return False
    rows, known = [], database_queries.registered(fleet)
    complete = True
    for queue in database_queries.queues(fleet):
        name = queue["name"]
        complete &= {(name, pid) for pid in pids[name]} <= known
        paused = "paused" if queue["paused_at"] is not None else "no"
        counts = [queue[each] for each in STATES]
        rows.append((name, *counts, queue["workers"], queue["slots"], paused))
    print(table(("queue", *STATES, "workers", "slots", "paused"), rows))
    if not complete:
        print("    Some workers have not registered in the ledger yet.")
    print()
    return complete


def _places(fleet: State, ready: bool) -> list[tuple[str, str]]:
    own = {"postgres": fleet.postgres_port, "redis": fleet.redis_port, "nats": fleet.nats_port}
    servers = [
        (
            name,
            f"a server of yours ({settings.EXTERNAL[name]})"
            if name in settings.external(fleet)
            else f"127.0.0.1:{port}",
        )
        for name, port in own.items()
    ]
    return [
        ("gateway", settings.gateway_url(fleet) + ("" if ready else "  (not ready)")),
        ("metrics", metrics_url(fleet)),
        ("mail", mail_page(fleet)),
        *servers,
        ("keys", f"{shown(RUN / 'dev.env')}  (`make keys` lists them)"),
        ("logs", f"{shown(LOGS)}/"),
    ]
