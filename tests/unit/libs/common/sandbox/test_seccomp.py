"""What a process can reach when it is confined: no socket, and no memory of another process."""

import os
import re
import subprocess
import sys
from pathlib import Path

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
import os, sys
from libs.common.sandbox.seccomp import network_is_closed, refuse_system_calls
assert not network_is_closed()
refuse_system_calls(but_execute=True)
assert network_is_closed()
refuse_system_calls(but_execute=True)  # once more changes nothing
open("/dev/null").close()
os.execv(sys.executable, [sys.executable, "-c", "import socket; socket.socket()"])
"""


@pytest.mark.skipif(not seccomp.is_available(), reason="not here")
def test_a_closed_network_stays_closed_for_the_program_that_the_process_becomes() -> None:
    ended = subprocess.run([sys.executable, "-c", CLOSE_THE_NETWORK], check=False, capture_output=True, text=True)
    assert "PermissionError" in ended.stderr
    assert ended.returncode == 1
    assert not seccomp.network_is_closed(), "this process's own is open"


ARGUMENTS_AT = 16


def verdict(
    machine: str,
    call: int,
    *arguments: int,
    architecture: int | None = None,
    but_execute: bool = False,
    but_threads: bool = False,
) -> int:
    """What the kernel makes of a system call under the filter for `machine`."""
    rules = seccomp._rules(machine, but_execute=but_execute, but_threads=but_threads)
    words = [word for one in arguments for word in (one & 0xFFFFFFFF, one >> 32)] + [0] * 12
    data = {ARGUMENTS_AT + 4 * place: word for place, word in enumerate(words)}
    data |= {seccomp.NUMBER_AT: call, seccomp.ARCHITECTURE_AT: architecture or seccomp.ARCHITECTURES[machine]}
    loaded, at = 0, 0
    while True:
        code, if_true, if_false, operand = rules[at]
        if code == seccomp.RETURN:
            return operand
        step = 0
        if code == seccomp.LOAD:
            loaded = data[operand]
        elif code == seccomp.AND:
            loaded &= operand
        else:
            step = if_true if (loaded == operand if code == seccomp.EQUAL else loaded >= operand) else if_false
        at += 1 + step


CONDITIONAL = [*(calls for calls, *_ in seccomp.REFUSED_IF), seccomp.SETS_LIMITS]


@pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)
@given(call=st.integers(0, 2**32 - 1), other=st.integers(1, 2**32 - 1))
def test_the_filter_refuses_its_table_and_every_way_around_it(machine: str, call: int, other: int) -> None:
    refused = {number for line in seccomp.REFUSED for number in seccomp.numbers(line, machine).values()}
    refused |= set(seccomp.numbers(seccomp.EXECUTE, machine).values())
    for number in refused:
        assert verdict(machine, number) == seccomp.REFUSE
        assert verdict(machine, number | seccomp.X32_BIT) == seccomp.REFUSE
    conditional = {number for line in CONDITIONAL for number in seccomp.numbers(line, machine).values()}
    if call not in conditional:
        known = seccomp.REFUSE if call in refused else seccomp.ALLOW
        newer = seccomp.REFUSE if call >= seccomp.X32_BIT else seccomp.UNKNOWN
        assert verdict(machine, call) == (known if call < seccomp.UNKNOWN_FROM else newer)
    if other != seccomp.ARCHITECTURES[machine]:  # another numbering of the same machine
        assert verdict(machine, call, architecture=other) == seccomp.REFUSE


@pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)
@pytest.mark.parametrize("call", [425, 434, 435, 437, 438, 447, 452, 10_000])
def test_what_newer_kernels_have_is_not_there(machine: str, call: int) -> None:
    """io_uring_setup, pidfd_open, clone3, openat2, pidfd_getfd, memfd_secret, fchmodat2, and those to come."""
    assert verdict(machine, call) == seccomp.UNKNOWN


O_RDONLY, O_WRONLY, O_RDWR, O_TRUNC, O_CREAT = 0, 1, 2, 0o1000, 0o100
MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE, MAP_ANONYMOUS = 1, 2, 3, 0x20


@pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)
@pytest.mark.parametrize(
    ("name", "arguments", "refused"),
    [
        ("openat", (0, 0, O_RDONLY | O_TRUNC), True),
        ("openat", (0, 0, 3 | O_TRUNC), True),
        ("openat", (0, 0, O_WRONLY | O_TRUNC | O_CREAT), False),
        ("openat", (0, 0, O_RDWR | O_TRUNC), False),
        ("openat", (0, 0, O_RDONLY), False),
        ("mmap", (0, 1, 3, MAP_SHARED), True),
        ("mmap", (0, 1, 3, MAP_SHARED_VALIDATE), True),
        ("mmap", (0, 1, 3, MAP_SHARED | MAP_ANONYMOUS), False),
        ("mmap", (0, 1, 3, MAP_PRIVATE), False),
        ("prctl", (seccomp.PR_SET_PDEATHSIG,), True),
        ("prctl", (seccomp.PR_SET_PDEATHSIG | 1 << 32,), True),
        ("prctl", (15,), False),  # PR_SET_NAME
        *(("fcntl", (0, command), True) for command in (8, 10, 15, 1024, 1026)),
        ("fcntl", (0, 2), False),  # F_SETFD
        ("prlimit64", (0, 0), False),
        ("prlimit64", (0, 1), True),
        ("prlimit64", (0, 1 << 32), True),  # an address whose lower half is zero
        ("prlimit64", (0, 1 << 63), True),
        ("execve", (), True),
    ],
)
def test_some_calls_are_refused_for_what_they_ask(
    machine: str, name: str, arguments: tuple[int, ...], refused: bool
) -> None:
    (number,) = (
        numbers[name]
        for line in (*CONDITIONAL, seccomp.EXECUTE)
        if name in (numbers := seccomp.numbers(line, machine))
    )
    assert verdict(machine, number, *arguments) == (seccomp.REFUSE if refused else seccomp.ALLOW)


@pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)
def test_a_launched_program_may_be_executed(machine: str) -> None:
    for number in seccomp.numbers(seccomp.EXECUTE, machine).values():
        assert verdict(machine, number, but_execute=True) == seccomp.ALLOW


@pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)
def test_threads_may_be_allowed_and_processes_may_not(machine: str) -> None:
    (number,) = seccomp.numbers(seccomp.CLONE, machine).values()
    thread, process = seccomp.CLONE_THREAD | 0x3D0F00, 0x01200011
    assert verdict(machine, number, thread) == verdict(machine, number, process) == seccomp.REFUSE
    assert verdict(machine, number, thread, but_threads=True) == seccomp.ALLOW
    assert verdict(machine, number, process, but_threads=True) == seccomp.REFUSE


HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


@pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)
def test_the_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    if not HEADERS[machine].exists():
        pytest.skip("linux-libc-dev is not installed")
    defined = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", HEADERS[machine].read_text()))
    lines = (*seccomp.REFUSED, *CONDITIONAL, seccomp.EXECUTE)
    ours = {name: number for line in lines for name, number in seccomp.numbers(line, machine).items()}
    assert ours == {name: int(defined[name]) for name in ours}
    assert min(int(number) for name, number in defined.items() if name == "pidfd_send_signal") == (
        seccomp.UNKNOWN_FROM
    )
