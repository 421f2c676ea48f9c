"""The README's command, pasted as it stands, reads the example: what a newcomer tries first has to work."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.test_servers import free_port
from tests.pictures import word_f1

ROOT = Path(__file__).resolve().parents[2]
OWN_SERVERS = ("DATABASE_URL", "REDIS_URL", "NATS_URL", "BLOB_URL", "MAIL_RELAYS")


def pasted_block() -> str:
    """The one block of the README that reads the example."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    (block,) = [block for block in blocks if "examples/scan.pdf" in block]
    return str(block)


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A folder in which `.run` and `examples` are as in a checkout where `make up` has run."""
    run = tmp_path / "run"
    environment = os.environ | {"ARGOSY_RUN_DIR": str(run), "ARGOSY_PORT": str(free_port())}
    for name in OWN_SERVERS:
        environment.pop(name, None)
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / ".run").symlink_to(run)
    (folder / "examples").symlink_to(ROOT / "examples")
    try:
        _local("up", environment)
        yield folder
    finally:
        _local("down", environment)


def _local(command: str, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deploy.local", command],
        env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
def test_the_block_prints_the_text_of_the_example(checkout: Path) -> None:
    block = pasted_block()
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", block], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert word_f1(done.stdout, (ROOT / "examples/scan.txt").read_text(encoding="utf-8")) > 0.95
