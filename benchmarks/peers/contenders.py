"""The contenders: how each is installed under .run/peers, served and started.

Versions are not pinned, because the comparison is with the newest versions.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from benchmarks.peers import fleet
from deploy.local import servers
from deploy.local.servers import Server
from deploy.local.test_servers import free_port, running

HERE = Path(__file__).parent
INSTALLED = HERE.parents[1] / ".run" / "peers"

Environment = Mapping[str, str]


class CannotInstall(Exception):
    """A contender cannot be installed and is left out. The message says why."""


def lines(environment: Environment) -> list[str]:
    """Return the ids of the jobs that wrote a line, once per line."""
    path = Path(environment["BENCH_FOLDER"]) / "runs"
    return path.read_text().split() if path.exists() else []


def told(name: str, environment: Environment) -> float:
    """Read a figure that a script has reported."""
    return float((Path(environment["BENCH_FOLDER"]) / name).read_text())


def span(environment: Environment) -> float:
    """Return the seconds from the start of the first handler to the start of the last."""
    return told("span", environment)


@dataclass(frozen=True)
class Contender:
    """One row of the tables. `serving` runs its servers, and yields the environment variables that name them."""

    name: str
    enqueues: str
    """How it enqueues, as shown in the table."""
    comes_back: str
    """When the jobs of a killed worker run again, according to its documentation and with default settings."""
    produce: Sequence[str]
    work: Sequence[str]
    serving: Callable[[Path], AbstractContextManager[Mapping[str, str]]]
    install: Callable[[], None] = lambda: None
    variables: Mapping[str, str] = field(default_factory=dict)
    span: Callable[[Environment], float] = span
    effects: Callable[[Environment], list[str]] = lines
    is_python_peer: bool = True
    measures_throughput: bool = True


@contextmanager
def _serving(make: Callable[[Path, int, str], Server], folder: Path) -> Iterator[dict[str, str]]:
    server = make(folder / "server", free_port(), servers.new_password())
    with running(server, folder):
        yield {"BENCH_URL": server.url}


def install_python(folder: Path, needs: Sequence[str]) -> None:
    """Create a virtual environment with `needs`, unless it exists. Raises CannotInstall."""
    mark = folder / "installed"
    if mark.exists() and mark.read_text() == " ".join(needs):
        return
    _call([sys.executable, "-m", "venv", "--clear", str(folder)], folder.parent)
    pip = [str(folder / "bin" / "pip"), "--disable-pip-version-check", "install", "-q", "--no-input"]
    _call([*pip, *needs], folder)
    mark.write_text(" ".join(needs))


def install_node(scripts: Path, folder: Path) -> None:
    """Copy the scripts, and install their packages beside them, where Node looks. Raises CannotInstall."""
    if not shutil.which("node") or not shutil.which("npm"):
        raise CannotInstall("it needs Node.js, and node or npm is not here")
    shutil.copytree(scripts, folder, dirs_exist_ok=True)
    mark = folder / "installed"
    wanted = (folder / "package.json").read_text()
    if mark.exists() and mark.read_text() == wanted:
        return
    _call(["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"], folder)
    mark.write_text(wanted)


def _call(command: Sequence[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotInstall((done.stderr or done.stdout).strip()[-300:])


def _python(
    name: str, server: Callable[[Path, int, str], Server], needs: Sequence[str], enqueues: str, comes_back: str
) -> Contender:
    folder = INSTALLED / name.lower()
    script = [str(folder / "bin" / "python"), "-m", f"benchmarks.peers.{name.lower()}_tasks"]
    return Contender(
        name=name,
        enqueues=enqueues,
        comes_back=comes_back,
        produce=[*script, "produce"],
        work=[*script, "work"],
        serving=partial(_serving, server),
        install=partial(install_python, folder, needs),
    )


ARGOSY = Contender(
    name="Argosy",
    enqueues="accept, 1,000 under way",
    comes_back="after a lease of 20 s",
    produce=[sys.executable, "-m", "benchmarks.peers.argosy_tasks", "produce"],
    work=[sys.executable, "-m", "benchmarks.peers.argosy_tasks", "work"],
    serving=fleet.serving,
    span=fleet.span,
    effects=fleet.effects,
    is_python_peer=False,
)
BULLMQ = Contender(
    name="BullMQ",
    enqueues="addBulk of 1,000",
    comes_back="stalled check every 30 s",
    produce=["node", str(INSTALLED / "bullmq" / "producer.mjs")],
    work=["node", str(INSTALLED / "bullmq" / "worker.mjs")],
    serving=partial(_serving, servers.redis),
    install=partial(install_node, HERE / "bullmq", INSTALLED / "bullmq"),
    is_python_peer=False,
)
CELERY = _python(
    "Celery",
    servers.redis,
    ("celery[redis]>=5.7", "hiredis>=3"),
    "apply_async, kept producer",
    "running: never; prefetched: after 1 h",
)
ALL = (
    ARGOSY,
    BULLMQ,
    _python(
        "arq",
        servers.redis,
        ("arq>=0.28", "redis[hiredis]>=5", "uvloop>=0.23"),
        "enqueue_job, 100 under way",
        "after job_timeout + 10 s = 310 s",
    ),
    _python(
        "Taskiq",
        servers.nats,
        ("taskiq>=0.13", "taskiq-nats>=0.7", "uvloop>=0.23"),
        "kiq, 100 under way",
        "after NATS's ack wait of 30 s",
    ),
    CELERY,
    replace(
        CELERY,
        name="Celery, acks_late",
        comes_back="after a visibility timeout of 1 h",
        variables={"BENCH_ACKS_LATE": "1"},
        measures_throughput=False,
    ),
    _python(
        "Dramatiq",
        servers.redis,
        ("dramatiq[redis]>=2.2", "hiredis>=3"),
        "send, one by one",
        "after 60 s, at a 1 in 1,000 chance a command",
    ),
    _python(
        "FastStream",
        servers.nats,
        ("faststream[cli,nats]>=0.7", "uvloop>=0.23"),
        "publish, 100 under way",
        "after NATS's ack wait of 30 s",
    ),
)
