"""Blocks the network in a process, and hides the memory of a process from others of the same user.

A document must not be able to send or fetch anything. A seccomp filter refuses the system call `socket` and the
way around it (io_uring). It needs no privilege, and child processes inherit it.
https://docs.kernel.org/userspace-api/seccomp_filter.html

`hide_process_memory` protects the memory and environment of a worker from sandboxed processes, which run as the
same user.
"""

import ctypes
import errno
import os
import platform
import socket
import struct

PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 4, 38, 22, 2
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
NUMBER_AT, ARCHITECTURE_AT = 0, 4
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EACCES
X32_BIT = 0x40000000
"""Set in the numbers of x32 system calls, which x86_64 kernels accept as well."""
IO_URING_SETUP = 425
SOCKET = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""The audit number of each architecture, and the number of its system call `socket`."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def block_network() -> bool:
    """Block the network for this process and its children, irreversibly. False if the system cannot do it."""
    known = SOCKET.get(platform.machine())
    if known is None or os.uname().sysname != "Linux":
        return False
    rules = _rules(*known)
    program = _Program(len(rules), b"".join(struct.pack("=HBBI", *rule) for rule in rules))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return False
    return not libc.prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(program), 0, 0)


def hide_process_memory() -> None:
    """Hide this process's memory and environment from other processes of its user, but not from root."""
    if os.uname().sysname == "Linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def network_is_closed() -> bool:
    """Whether this process cannot open sockets."""
    try:
        socket.socket().close()
    except PermissionError:
        return True
    return False


def _rules(architecture: int, socket_number: int) -> list[tuple[int, int, int, int]]:
    """BPF instructions: code, jump if true, jump if false, operand. The last refuses, the one before allows."""
    return [
        (LOAD, 0, 0, ARCHITECTURE_AT),
        (EQUAL, 0, 5, architecture),
        (LOAD, 0, 0, NUMBER_AT),
        (AT_LEAST, 3, 0, X32_BIT),
        (EQUAL, 2, 0, socket_number),
        (EQUAL, 1, 0, IO_URING_SETUP),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
    ]
