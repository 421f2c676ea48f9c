"""What a process of the sandbox can get hold of: nothing that its worker knows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from libs.common.errors import ArgosyError
from libs.common.sandbox.sandbox import Limits, Refusals, Sandbox

KILL_THE_SERVER = """
import asyncio, multiprocessing.forkserver as server, os, signal
from libs.common import config
from libs.common.errors import ArgosyError
from libs.common.sandbox import Limits, Refusals, Sandbox
from tests.unit.libs.common.sandbox.test_sandbox import environment

async def main():
    refusals = Refusals(ArgosyError, ArgosyError, ArgosyError)
    sandbox = Sandbox(Limits(1024**3, 30.0), refusals, package="tests", preload=[])
    config.forget_secrets()  # as a worker does when it has read everything
    os.kill(server._forkserver._forkserver_pid, signal.SIGKILL)
    os.waitid(os.P_PID, server._forkserver._forkserver_pid, os.WEXITED | os.WNOWAIT)
    assert b"SECRET" not in (await sandbox.run(environment))[1]

asyncio.run(main())
"""


def environment() -> tuple[dict[str, str], bytes]:
    """As the process was started with, and as it is."""
    return dict(os.environ), Path("/proc/self/environ").read_bytes()


async def test_secrets_of_the_worker_do_not_reach_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody:canary@localhost/argosy")
    refusals = Refusals(ArgosyError, ArgosyError, ArgosyError)
    sandbox = Sandbox(Limits(1024**3, 30.0), refusals, package="tests", preload=[])
    found, begun_with = await sandbox.run(environment)
    assert "DATABASE_URL" not in found
    assert found["PATH"] == os.environ["PATH"]
    assert b"DATABASE_URL" not in begun_with
    assert os.environ["DATABASE_URL"].endswith("canary@localhost/argosy")


def test_nor_when_its_server_dies_and_another_is_started() -> None:
    command = [sys.executable, "-c", KILL_THE_SERVER]
    subprocess.run(command, env={**os.environ, "SECRET": "canary"}, check=True)
