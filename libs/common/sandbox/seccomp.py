"""A process that can open no socket, whatever runs in it: a document must not be able to send or fetch anything.

A seccomp filter, which needs no privilege; programs that it starts inherit it. It refuses `socket` and the way
around it. https://docs.kernel.org/userspace-api/seccomp_filter.html
And a process whose memory and environment such a one cannot read, though both have the same user.
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
"""System calls of another numbering, which x86_64 has as well."""
IO_URING_SETUP = 425
SOCKET = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""The audit number of the architecture, and of its system call `socket`."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def block_network() -> bool:
    """Close the network to this process and its children for good; whether this system can."""
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
    """Close this process's memory and environment to others of its user; not to root."""
    if os.uname().sysname == "Linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def network_is_closed() -> bool:
    """Whether this process can open no socket."""
    try:
        socket.socket().close()
    except PermissionError:
        return True
    return False


def _rules(architecture: int, opening: int) -> list[tuple[int, int, int, int]]:
    """Code, steps to go on if true and if false, operand: the last rule refuses, the one before allows."""
    return [
        (LOAD, 0, 0, ARCHITECTURE_AT),
        (EQUAL, 0, 5, architecture),
        (LOAD, 0, 0, NUMBER_AT),
        (AT_LEAST, 3, 0, X32_BIT),
        (EQUAL, 2, 0, opening),
        (EQUAL, 1, 0, IO_URING_SETUP),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
    ]
