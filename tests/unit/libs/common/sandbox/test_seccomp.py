"""What a process can reach when it is confined: no socket, and no memory of another process."""

import os
import platform
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.sandbox import seccomp

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


CLOSE_THE_NETWORK = """
import subprocess, sys
from libs.common.sandbox.seccomp import block_network, network_is_closed
assert not network_is_closed()
assert block_network()
assert network_is_closed()
block_network()  # once more changes nothing
open("/dev/null").close()
sys.exit(subprocess.run([sys.executable, "-c", "import socket; socket.socket()"], capture_output=True).returncode)
"""


@pytest.mark.skipif(sys.platform != "linux" or platform.machine() not in seccomp.SOCKET, reason="not here")
def test_a_closed_network_stays_closed_for_whatever_the_process_starts() -> None:
    assert subprocess.run([sys.executable, "-c", CLOSE_THE_NETWORK], check=False).returncode == 1
    assert not seccomp.network_is_closed(), "this process's own is open"


def verdict(machine: str, architecture: int, call: int) -> int:
    """What the kernel makes of a system call under the filter for `machine`."""
    rules = seccomp._rules(*seccomp.SOCKET[machine])
    loaded, at = 0, 0
    while True:
        code, if_true, if_false, operand = rules[at]
        if code == seccomp.RETURN:
            return operand
        if code == seccomp.LOAD:
            loaded, step = {seccomp.NUMBER_AT: call, seccomp.ARCHITECTURE_AT: architecture}[operand], 0
        else:
            step = if_true if (loaded == operand if code == seccomp.EQUAL else loaded >= operand) else if_false
        at += 1 + step


@pytest.mark.parametrize("machine", seccomp.SOCKET)
@given(call=st.integers(0, 2**32 - 1), other=st.integers(0, 2**32 - 1))
def test_the_filter_refuses_sockets_and_every_way_around_it(machine: str, call: int, other: int) -> None:
    architecture, socket = seccomp.SOCKET[machine]
    assert verdict(machine, architecture, socket) == seccomp.REFUSE
    assert verdict(machine, architecture, seccomp.IO_URING_SETUP) == seccomp.REFUSE
    assert verdict(machine, architecture, seccomp.X32_BIT | socket) == seccomp.REFUSE
    allowed = call < seccomp.X32_BIT and call not in (socket, seccomp.IO_URING_SETUP)
    assert verdict(machine, architecture, call) == (seccomp.ALLOW if allowed else seccomp.REFUSE)
    if other != architecture:  # another numbering of the same machine
        assert verdict(machine, other, call) == seccomp.REFUSE
