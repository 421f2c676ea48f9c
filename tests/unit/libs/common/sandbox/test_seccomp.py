"""What a process can reach when it is confined: no socket, and no memory of another process."""

import os
import subprocess
import sys

import pytest

READ_THE_PARENTS = """
import ctypes, os, sys
from pathlib import Path
from libs.common.sandbox.seccomp import PR_SET_DUMPABLE, hide_process_memory
os.setgid(65534); os.setuid(65534)
ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # as if it had never been another user
if sys.argv[1] == "hidden":
    hide_process_memory()
child = os.fork()
if child == 0:
    try:
        os._exit(b"SECRET=" in Path(f"/proc/{os.getppid()}/environ").read_bytes())
    except PermissionError:
        os._exit(2)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(os.getuid() != 0 or sys.platform != "linux", reason="only root can become another user")
@pytest.mark.parametrize(("how", "seen"), [("open", 1), ("hidden", 2)])
def test_a_process_of_the_same_user_cannot_look_into_the_worker(how: str, seen: int) -> None:
    command = [sys.executable, "-c", READ_THE_PARENTS, how]
    assert subprocess.run(command, env={**os.environ, "SECRET": "canary"}, check=False).returncode == seen
