"""python -m deploy.local up | down | scale SERVICE N | redis-start | redis-stop"""

import argparse
import asyncio
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress

from deploy.local import state, supervisor, tesseract
from deploy.local.servers import CannotRun, Server, nats, password_of, postgres, redis
from deploy.local.state import EXTERNAL, GATEWAY_PORT, LOGS, RUN, State
from deploy.local.supervisor import Program
from deploy.local.test_servers import answers
from deploy.migrations.__main__ import upgrade
from deploy.permissions import login_of, postgres_logins
from libs.common import db
from libs.common.config import DatabaseSettings
from libs.common.contracts.services import GATEWAY, QUEUES, SERVICES
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import OPERATOR, ROLES, Role

URL = f"http://127.0.0.1:{GATEWAY_PORT}"
READY_WITHIN_S = 60.0
CATCHER = "catcher"


def up() -> None:
    """Start whatever does not run yet, and wait until the gateway serves."""
    begun = time.monotonic()
    tesseract.ensure()
    remembered = state.load()
    if supervisor.alive():
        print("The fleet is already running.")
    else:
        _prepare(remembered)
    addresses = _addresses(remembered)
    for name, url in addresses.items():
        if name in supervisor.statuses():
            supervisor.ask("start", name=name, waiting=True)
        _wait(name, lambda url=url: answers(url))  # type: ignore[misc]
    settings = DatabaseSettings.model_validate({"database_url": addresses["postgres"]})
    _wait("database", lambda: asyncio.run(_reachable(settings)))
    upgrade(settings)
    asyncio.run(_have_logins(remembered, settings))
    asyncio.run(_have_key(remembered, settings))
    for name in (*_helpers(), "gateway", *QUEUES):
        supervisor.ask("start", name=name, waiting=True)
    _wait("gateway", _gateway_ready)
    metrics_url = f"http://127.0.0.1:{remembered.metrics_port}/metrics"
    state.write_environment(
        "dev.env",
        {"ARGOSY_URL": URL, "ARGOSY_KEY": remembered.key or "", "ARGOSY_METRICS_URL": metrics_url},
    )
    for service in SERVICES:
        state.write_environment(f"{service.name}.env", _environment(service.name, addresses, remembered))
    _welcome(remembered, time.monotonic() - begun)


def down() -> None:
    """Stop everything: first what takes work, then the servers. Nothing is lost."""
    try:
        supervised = supervisor.alive()
    except CannotRun as silent:
        print(f"{silent} What it runs is stopped all the same.")
        supervised = False
    if supervised:
        for name in (*QUEUES, "gateway", CATCHER):
            if name in supervisor.statuses():
                supervisor.ask("stop", name=name, waiting=True)
        supervisor.ask("quit", waiting=True)
        _wait(
            "the supervisor's end",
            lambda: not supervisor.leftovers(),
            within_s=supervisor.STOP_WITHIN_S,
            complain=False,
        )
        supervisor.sweep()  # a server that was restarted just then may have been forgotten
        print("The fleet is down. Its data is kept in .run/; `make up` goes on with it.")
    elif swept := supervisor.sweep():
        print(f"No supervisor was in charge; {swept} processes that were left have been stopped.")
    else:
        print("The fleet is not running.")


def scale(service: str, processes: int) -> None:
    """Run `processes` workers of `service`."""
    _need_supervisor()
    if service not in QUEUES:
        raise CannotRun(f"There is no worker {service}; there are: {', '.join(QUEUES)}")
    supervisor.ask("set", name=service, options={"numprocesses": processes}, waiting=True)
    print(f"{service}: {processes} worker processes")


def redis_start() -> None:
    """Start our Redis, alone if need be."""
    if not supervisor.alive():
        _prepare(state.load())
    if "redis" not in supervisor.statuses():
        raise CannotRun("REDIS_URL was set when the fleet was started: that Redis is not ours to start.")
    supervisor.ask("start", name="redis", waiting=True)
    _wait("redis", lambda: answers(_addresses(state.load())["redis"]))


def redis_stop() -> None:
    """Stop our Redis; the supervisor too, if it has nothing else to do."""
    _need_supervisor()
    supervisor.ask("stop", name="redis", waiting=True)
    if "active" not in supervisor.statuses().values():
        supervisor.ask("quit", waiting=True)
    print("Redis is stopped.")


def _prepare(remembered: State) -> None:
    """Clear away what a killed run left, make the servers ready to run, and start the supervisor."""
    if swept := supervisor.sweep():
        print(f"Stopped {swept} processes that an earlier run had left behind.")
    (RUN / "postgres" / "data" / "postmaster.pid").unlink(missing_ok=True)
    state.refresh_ports(remembered)
    if not (RUN / "postgres" / "data").exists() and "DATABASE_URL" not in os.environ:
        print("Making a database cluster …", flush=True)
    servers = _servers(remembered)
    addresses = {server.name: server.url for server in servers} | _external()
    programs = [Program(server.name, server.command, {}, server.stop_signal) for server in servers]
    for name in (service.name for service in SERVICES):
        command = [sys.executable, "-m", f"services.{name}"]
        programs.append(Program(name, command, _environment(name, addresses, remembered)))
    if CATCHER in _helpers():
        ports = [str(remembered.smtp_port), str(remembered.mail_page_port)]
        command = [sys.executable, "-m", "deploy.local.mail_catcher", str(RUN / "mail"), *ports]
        programs.append(Program(CATCHER, command))
    supervisor.write_fleet(programs)
    supervisor.launch()


def _servers(remembered: State) -> list[Server]:
    """The servers that we run ourselves."""
    make: dict[str, Callable[[], Server]] = {
        "postgres": lambda: postgres(RUN / "postgres", remembered.postgres_port, remembered.password),
        "redis": lambda: redis(RUN / "redis", remembered.redis_port, remembered.password),
        "nats": lambda: nats(RUN / "nats", remembered.nats_port, remembered.password),
    }
    return [make[name]() for name in make if name not in _external()]


def _external() -> dict[str, str]:
    return {name: os.environ[variable] for name, variable in EXTERNAL.items() if os.environ.get(variable)}


def _addresses(remembered: State) -> dict[str, str]:
    password = remembered.password
    ours = {
        "postgres": f"postgresql://argosy:{password}@127.0.0.1:{remembered.postgres_port}/postgres",
        "redis": f"redis://:{password_of('redis', password)}@127.0.0.1:{remembered.redis_port}/0",
        "nats": f"nats://argosy:{password}@127.0.0.1:{remembered.nats_port}",
    }
    return ours | _external()


def _helpers() -> tuple[str, ...]:
    """What runs beside the fleet: mail is caught here, unless it is said where to send it."""
    return () if os.environ.get("MAIL_RELAYS") else (CATCHER,)


def _environment(service: str, addresses: dict[str, str], remembered: State) -> dict[str, str]:
    """What a service is given; in our own servers it is a user who may do its work and nothing else."""
    password = password_of(service, remembered.password)
    counters = {"REDIS_URL": addresses["redis"]}
    own = {
        GATEWAY.name: counters | {"GATEWAY_PORT": str(GATEWAY_PORT), "PROBES_PORT": str(remembered.metrics_port)},
        "mailer": counters
        | {
            "MAIL_RELAYS": os.environ.get("MAIL_RELAYS") or f"smtp://127.0.0.1:{remembered.smtp_port}?tls=off",
            "MAIL_SECRET": os.environ.get("MAIL_SECRET") or remembered.mail_secret,
            "MAIL_UNSUBSCRIBE_URL": os.environ.get("MAIL_UNSUBSCRIBE_URL") or f"{URL}/v1/unsubscribe",
        },
    }
    return {
        "DATABASE_URL": _external().get("postgres")
        or f"postgresql://{login_of(service)}:{password}@127.0.0.1:{remembered.postgres_port}/postgres",
        "NATS_URL": _external().get("nats") or f"nats://{service}:{password}@127.0.0.1:{remembered.nats_port}",
        "BLOB_URL": os.environ.get("BLOB_URL") or (RUN / "blobs").as_uri(),
        "PROBES_PORT": "0",
        **own.get(service, {}),
    }


async def _reachable(settings: DatabaseSettings) -> bool:
    with suppress(Exception):
        async with db.connect(settings, "up", role=None, patience_s=0) as database:
            return await database.reachable()
    return False


async def _have_logins(remembered: State, settings: DatabaseSettings) -> None:
    """The logins of the services in our own server."""
    if "DATABASE_URL" in os.environ:
        return
    async with db.connect(settings, "up", role=None, patience_s=10) as database:
        logins = postgres_logins(lambda service: f"'{password_of(service, remembered.password)}'")
        for login, statement in logins.items():
            if not await database.fetch("SELECT FROM pg_roles WHERE rolname = $1", login):
                await database.fetch(statement)


async def _have_key(remembered: State, settings: DatabaseSettings) -> None:
    """An API key for the tenant `dev`, in this database."""
    address = settings.database_url.get_secret_value()
    where = address.rpartition("@")[2] if "DATABASE_URL" in os.environ else "ours"
    if remembered.key is None or remembered.key_database != where:
        async with db.connect(settings, "up", role=db.Role.GATEWAY, patience_s=10) as database:
            everything = ROLES[Role.ADMIN] | OPERATOR
            issued = await issue(database, "dev", "dev", "make up", Role.ADMIN, scopes=everything)
            remembered.key = issued.key
        remembered.key_database = where
        remembered.save()


def _gateway_ready() -> bool:
    try:
        with urllib.request.urlopen(f"{URL}/readyz", timeout=2) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _wait(what: str, done: Callable[[], bool], *, within_s: float = READY_WITHIN_S, complain: bool = True) -> None:
    """Poll until `done`; a dot a second shows that it goes on. Raises CannotRun after `within_s` seconds."""
    begun = shown = time.monotonic()
    while not done():
        now = time.monotonic()
        if now - begun > within_s:
            if not complain:
                return
            raise CannotRun(f"{what} is not ready after {within_s:.0f} s; see {LOGS}/")
        if now - shown > 1:
            print("." if shown > begun else f"waiting for {what} ", end="", flush=True)
            shown = now
        time.sleep(0.05)
    if shown > begun:
        print()


def _need_supervisor() -> None:
    if not supervisor.alive():
        raise CannotRun("The fleet is not running: `make up` first.")


def _welcome(remembered: State, seconds: float) -> None:
    print(
        f"""
Argosy is up at {URL}  ({seconds:.1f} s)

    . .run/dev.env                                 # ARGOSY_URL and ARGOSY_KEY
    curl -s -H "Authorization: Bearer $ARGOSY_KEY" $ARGOSY_URL/v1/ocr -F file=@scan.pdf

or, as it stands:

    curl -s -H "Authorization: Bearer {remembered.key}" {URL}/v1/jobs

logs: .run/logs/ (`make logs`)     metrics: http://127.0.0.1:{remembered.metrics_port}/metrics
mail: {_where_mail_goes(remembered)}
""".rstrip()
    )


def _where_mail_goes(remembered: State) -> str:
    if CATCHER not in _helpers():
        return "sent to MAIL_RELAYS"
    return f"caught, not sent: http://127.0.0.1:{remembered.mail_page_port}, {RUN / 'mail'}/*.eml"


def main() -> None:
    """Run one command; a trouble with a name is told in a line or two."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("up", "down", "redis-start", "redis-stop"):
        commands.add_parser(name)
    scaling = commands.add_parser("scale")
    scaling.add_argument("service")
    scaling.add_argument("processes", type=int)
    arguments = parser.parse_args()
    simple = {"up": up, "down": down, "redis-start": redis_start, "redis-stop": redis_stop}
    try:
        if arguments.command == "scale":
            scale(arguments.service, arguments.processes)
        else:
            simple[arguments.command]()
    except CannotRun as trouble:
        sys.exit(f"{trouble}")


if __name__ == "__main__":
    main()
