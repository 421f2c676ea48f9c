"""What .run/ remembers: ports, secrets and addresses, so that the next `make up` finds the fleet as it was.

The folder is closed to other users: it holds passwords.
"""

import json
import os
import socket
from dataclasses import asdict, dataclass, field
from pathlib import Path

from deploy.local.servers import CannotRun, new_password, write_secret
from deploy.local.test_servers import free_port

ROOT = Path(__file__).resolve().parents[2]
RUN = Path(os.environ.get("ARGOSY_RUN_DIR", ROOT / ".run")).resolve()
LOGS = RUN / "logs"
GATEWAY_PORT = int(os.environ.get("ARGOSY_PORT", "8080"))
EXTERNAL = {"postgres": "DATABASE_URL", "redis": "REDIS_URL", "nats": "NATS_URL"}
"""The variable that names a server of the user's own, to be used instead of ours."""


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

    def save(self) -> None:
        """Write it down."""
        write_secret(RUN / "state.json", json.dumps(asdict(self), indent=1))


def load() -> State:
    """The remembered state, or a new one."""
    for folder in (RUN, LOGS):
        folder.mkdir(parents=True, exist_ok=True)
    RUN.chmod(0o700)
    path = RUN / "state.json"
    if path.exists():
        return State(**json.loads(path.read_text()))
    state = State(new_password(), free_port(), free_port(), free_port(), free_port())
    state.save()
    return state


def refresh_ports(state: State) -> None:
    """Exchange those ports of ours that somebody else has taken since. Raises CannotRun if 8080 is one."""
    if _taken(GATEWAY_PORT):
        raise CannotRun(
            f"Port {GATEWAY_PORT} is taken by another program. Stop it, or choose a port: ARGOSY_PORT=8081 make up"
        )
    ports = ("postgres_port", "redis_port", "nats_port", "metrics_port", "smtp_port", "mail_page_port")
    for name in ports:
        if not getattr(state, name) or _taken(getattr(state, name)):
            setattr(state, name, free_port())
    state.save()


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


def write_environment(name: str, variables: dict[str, str]) -> None:
    """Write .run/`name`, for `. .run/name`.

    What callers need (dev.env) and what each service needs are kept apart: a shell that has read the former must
    not look as if it named servers of its own.
    """
    quoted = {variable: value.replace("'", "'\\''") for variable, value in variables.items()}
    lines = "".join(f"export {variable}='{value}'\n" for variable, value in quoted.items())
    write_secret(RUN / name, lines)
