"""The programs of the fleet: how each is started, and with what, so that `make up` can tell which ones changed."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from deploy.local import settings, version
from deploy.local.servers import Server, nats, postgres, redis
from deploy.local.settings import EXTERNAL, WORKERS
from deploy.local.state import RUN, Started, State

CATCHER = "catcher"
SERVERS = tuple(EXTERNAL)


@dataclass(frozen=True)
class Program:
    """A process of the fleet, or several alike."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    """What is its own; the rest of its environment is the shell's."""
    stop_signal: str = "TERM"
    processes: int = 1
    code: str = ""
    """A digest of what it runs. Of a server: of its configuration."""

    @property
    def started(self) -> Started:
        """How it is remembered, once it was started."""
        variables = {name: version.digest(name, value) for name, value in self.environment.items()}
        return Started(version.checked_out(), version.digest(*self.command), self.code, variables)


def wanted(state: State) -> list[Program]:
    """Everything that is to run, with the servers first. Makes servers ready to run. Raises CannotRun."""
    servers = [
        Program(server.name, server.command, {}, server.stop_signal, code=version.digest(server.configuration))
        for server in servers_of(state)
    ]
    return servers + beside_servers(state)


def beside_servers(state: State) -> list[Program]:
    """The rest of what is to run, in the order in which it is restarted.

    Workers come before the gateway: a new gateway may accept what only new workers understand, while new workers
    understand what an old gateway accepted, as jobs outlive versions anyway. While a worker is restarted its jobs
    wait in the ledger.
    """
    programs = []
    if settings.catches_mail(state):
        ports = [str(state.smtp_port), str(state.mail_page_port)]
        command = [sys.executable, "-m", "deploy.local.mail_catcher", str(RUN / "mail"), *ports]
        programs.append(Program(CATCHER, command, code=version.code_of(("deploy/local/mail_catcher.py",))))
    return programs + [_service(name, state) for name in (*WORKERS, settings.GATEWAY)]


def _service(name: str, state: State) -> Program:
    return Program(
        name,
        [sys.executable, "-m", f"services.{name}"],
        settings.environment_of(name, state),
        processes=state.scale.get(name, 1) if name in WORKERS else 1,
        code=version.service_code(name),
    )


def servers_of(state: State) -> list[Server]:
    """The servers that we run ourselves, made ready. Raises CannotRun."""
    make: dict[str, Callable[[], Server]] = {
        "postgres": lambda: postgres(RUN / "postgres", state.postgres_port, state.password),
        "redis": lambda: redis(RUN / "redis", state.redis_port, state.password),
        "nats": lambda: nats(RUN / "nats", state.nats_port, state.password),
    }
    if "postgres" not in settings.external(state) and not (RUN / "postgres" / "data").exists():
        print("Making a database cluster …", flush=True)
    return [make[name]() for name in make if name not in settings.external(state)]


def whole_environment(program: Program) -> dict[str, str]:
    """The shell's, and its own.

    ARGOSY_RUN_DIR tells processes of this fleet from those of others. A new ARGOSY_VERSION restarts nothing.
    """
    ours = {"ARGOSY_RUN_DIR": str(RUN), "ARGOSY_VERSION": version.checked_out()}
    return settings.baseline(os.environ) | program.environment | ours
