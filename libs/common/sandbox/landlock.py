"""Confines a process to files: Landlock, by its system calls. It needs no privilege, and root is bound as well.

Each kernel knows a version of it (ABI). What a version does not know is left out; seccomp.py refuses what Landlock
never covers, such as chmod, and what older versions do not, such as truncating a file that may only be read.
https://docs.kernel.org/userspace-api/landlock.html
"""

import ctypes
import os
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""The same numbers on all architectures."""
ASK_FOR_VERSION, PATH_BENEATH = 1, 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_FILE, MAKE_REGULAR, TRUNCATE = (
    *(1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 5, 1 << 8),
    1 << 14,
)
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
"""The rights that a rule for a file, not a folder, may have."""
READ = READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | REMOVE_FILE | MAKE_REGULAR | TRUNCATE
"""Files only: what a process leaves in its folder is no link, pipe or device that its reader would follow."""
RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights of files each version knows; the newest stands for those after it."""
NETWORK_FROM, NETWORK = 4, 0b11
SCOPES_FROM, SCOPES = 6, 0b11
"""Abstract unix sockets of others, and signals to others."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


_libc = ctypes.CDLL(None, use_errno=True)


@cache
def version() -> int:
    """The kernel's version of Landlock; 0 if it has none, or does not use it."""
    if os.uname().sysname != "Linux":
        return 0
    return max(0, int(_libc.syscall(CREATE_RULESET, None, 0, ASK_FOR_VERSION)))


def restrict(rules: Iterable[tuple[Path, int]], abi: int) -> None:
    """Refuse this process, and what it will start, all files but those of `rules`, irreversibly.

    A rule is a path and the rights to it and to everything below it; a path that this user does not find is left
    out. `abi`: the version to use. The process must not be able to gain privileges (PR_SET_NO_NEW_PRIVS). Raises
    OSError.
    """
    known = (1 << RIGHTS[min(abi, max(RIGHTS))]) - 1
    attributes = _Ruleset(known, NETWORK if abi >= NETWORK_FROM else 0, SCOPES if abi >= SCOPES_FROM else 0)
    size = 8 * (1 + (abi >= NETWORK_FROM) + (abi >= SCOPES_FROM))
    ruleset = _called(CREATE_RULESET, ctypes.byref(attributes), size, 0)
    try:
        for path, rights in rules:
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                _allow(ruleset, path, rights & known)
        _called(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rights &= -1 if path.is_dir() else OF_FILES
        rule = _PathBeneath(rights, opened)
        _called(ADD_RULE, ruleset, PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(opened)


def _called(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), "Landlock failed")
    return result
