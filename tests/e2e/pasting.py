"""Commands of a document, pasted as they stand into a checkout in which `make up` has run."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.test_servers import free_port

ROOT = Path(__file__).resolve().parents[2]
OWN_SERVERS = ("DATABASE_URL", "REDIS_URL", "NATS_URL", "BLOB_URL", "MAIL_RELAYS")


def blocks(page: str) -> list[str]:
    """The blocks of a page that are for a shell."""
    return re.findall(r"^```sh\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)


def paste(folder: Path, block: str) -> str:
    """What the block prints in `folder`."""
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", block], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def checkout(folder: Path, **settings: str) -> Iterator[Path]:
    """A folder in which `.run` and `examples` are as in a checkout with a fleet, which runs meanwhile.

    `settings`: environment variables of `make up`.
    """
    run = folder / "run"
    environment = os.environ | {"ARGOSY_RUN_DIR": str(run), "ARGOSY_PORT": str(free_port())}
    for name in OWN_SERVERS:
        environment.pop(name, None)
    environment |= settings
    made = folder / "checkout"
    made.mkdir()
    (made / ".run").symlink_to(run)
    (made / "examples").symlink_to(ROOT / "examples")
    try:
        _local("up", environment)
        yield made
    finally:
        _local("down", environment)


def _local(command: str, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deploy.local", command],
        env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
