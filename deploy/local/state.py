"""What .run/ remembers: ports, secrets, settings and what was started, so that the next `make up` goes on with it.

The folder is closed to other users: it holds passwords.
"""

import json
import os
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from deploy.local.errors import CannotRun
from deploy.local.passwords import new_password, write_secret
from deploy.local.ports import free_port, why_not

ROOT = Path(__file__).resolve().parents[2]
RUN = Path(os.environ.get("ARGOSY_RUN_DIR") or ROOT / ".run").resolve()
LOGS = RUN / "logs"
DEFAULT_GATEWAY_PORT = 8080
CHOSEN_PORTS = {
    "postgres_port": "postgres",
    "redis_port": "redis",
    "nats_port": "nats",
    "metrics_port": "gateway",
    "smtp_port": "catcher",
    "mail_page_port": "catcher",
}
"""The ports that we choose ourselves, and the program that listens there."""


@dataclass(frozen=True)
class Started:
    """What a program was started with. Digests of variables are enough to tell which one changed."""

    version: str
    command: str
    code: str
    variables: dict[str, str]


@dataclass
class State:
    """Kept in .run/state.json."""

    password: str
    postgres_port: int
    redis_port: int
    nats_port: int
    metrics_port: int
    key: str | None = None
    """The API key of the tenant `dev`."""
    key_database: str | None = None
    """The address of the database that knows the key."""
    smtp_port: int = 0
    mail_page_port: int = 0
    """Where mail is caught, and shown."""
    mail_secret: str = field(default_factory=new_password)
    analytics_secret: str = field(default_factory=new_password)
    sync_secret: str = field(default_factory=new_password)
    ocr_secret: str = field(default_factory=new_password)
    link_secret: str = field(default_factory=new_password)
    key_secret: str = field(default_factory=new_password)
    gateway_port: int = DEFAULT_GATEWAY_PORT
    settings: dict[str, str] = field(default_factory=dict)
    """Environment variables of services that `make up` was given, until it is given others."""
    scale: dict[str, int] = field(default_factory=dict)
    """Processes of each worker that `make scale` asked for; 1 of any other."""
    started: dict[str, Started] = field(default_factory=dict)
    """By program."""

    def save(self) -> None:
        """Write it down."""
        write_secret(RUN / "state.json", json.dumps(asdict(self), indent=1))


def load() -> State:
    """The remembered state, or a new one. Raises CannotRun if the file cannot be read."""
    for folder in (RUN, LOGS):
        folder.mkdir(parents=True, exist_ok=True)
    RUN.chmod(0o700)
    path = RUN / "state.json"
    if path.exists():
        return _read(path)
    state = State(new_password(), free_port(), free_port(), free_port(), free_port())
    state.save()
    return state


def _read(path: Path) -> State:
    """Written by this version, an older or a newer one: what it does not know is left out."""
    try:
        stored: dict[str, Any] = json.loads(path.read_text())
        known = {name: stored[name] for name in stored.keys() & {kept.name for kept in fields(State)}}
        known.setdefault("gateway_port", _port_of_earlier_version())
        known["started"] = {name: Started(**facts) for name, facts in known.get("started", {}).items()}
        return State(**known)
    except (ValueError, TypeError, AttributeError) as error:
        raise CannotRun(
            f"{path} cannot be read ({error}). It holds the passwords of the servers; repair it, or remove {RUN} "
            f"with all jobs in it and begin anew."
        ) from error


def _port_of_earlier_version() -> int:
    """The gateway's port where the state does not have it yet: from the address that callers were given."""
    path = RUN / "dev.env"
    found = re.search(r"ARGOSY_URL='http://127\.0\.0\.1:(\d+)'", path.read_text()) if path.exists() else None
    return int(found[1]) if found else DEFAULT_GATEWAY_PORT


def refresh_ports(state: State, running: Collection[str]) -> None:
    """Exchange those of our ports that others have taken since; what programs in `running` have is ours still."""
    for name, program in CHOSEN_PORTS.items():
        port = getattr(state, name)
        if program not in running and (not port or why_not(port) is not None):
            setattr(state, name, free_port())


def write_environment(name: str, variables: dict[str, str], defaults: dict[str, str] | None = None) -> None:
    """Write .run/`name`, for `. .run/name`. Of `defaults`, a variable that the shell already has keeps its value.

    What callers need (dev.env) and what each service needs are kept apart: a shell that has read the former must
    not look as if it named servers of its own.
    """
    lines = [f"export {variable}={_quoted(value)}\n" for variable, value in variables.items()]
    lines += [
        f'[ -n "${{{variable}:-}}" ] || export {variable}={_quoted(value)}\n'
        for variable, value in (defaults or {}).items()
    ]
    write_secret(RUN / name, "".join(lines))


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"


def shown(path: Path) -> str:
    """`path` as the user would type it in the project's folder."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
