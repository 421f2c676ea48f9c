"""What a sandboxed process may use of the machine, and how everything else is taken away from it.

Files by Landlock, all else by a filter of system calls; root loses its capabilities. It cannot be undone, and
needs no privilege: it holds in a container, for root and for an ordinary user alike.
"""

import ctypes
import os
import platform
import sys
import sysconfig
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from libs.common.sandbox import landlock, seccomp

SYSTEM = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"),
    *("/etc/localtime", "/usr/share/zoneinfo", "/dev/urandom"),
)
"""What libraries of the system read."""
NO_LANDLOCK = (
    "files stay open: there is no Landlock in this kernel, or it is not used, or refused to this container"
)
CAPABILITY_VERSION_3 = 0x20080522


@dataclass(frozen=True, slots=True)
class Reach:
    """The files that a process may use beside the system's libraries: at least those of `code_of`."""

    reads: tuple[Path, ...] = ()
    """Files, and folders with everything in them."""
    folder: Path | None = None
    """The one that it may write: files only, no folders within it, no links."""
    programs: tuple[Path, ...] = ()
    """What it may start, one at a time (launcher.py)."""
    threads: bool = False
    """It may have threads, which end with it."""


def what_is_missing() -> list[str]:
    """What this system does not have of what confines; nothing, if sandboxed processes are confined."""
    missing = [] if landlock.version() else [NO_LANDLOCK]
    if not seccomp.is_available():
        missing.append("network and other processes stay open: there are no seccomp filters for this system")
    return missing


def prepare() -> None:
    """Find out in the fork server what each process that it forks needs to know."""
    landlock.version()
    if seccomp.is_available():
        seccomp.filter_of(platform.machine())
        seccomp.filter_of(platform.machine(), but_execute=True)
        seccomp.filter_of(platform.machine(), but_threads=True)


def code_of(package: str) -> tuple[Path, ...]:
    """The folders of the interpreter's library, of installed packages, of `libs` and of `package`."""
    paths = sysconfig.get_paths()
    found = {Path(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    found.add(Path(__file__).parents[2])
    spec = find_spec(package)
    if spec is not None:
        found.update(Path(folder) for folder in spec.submodule_search_locations or ())
    return tuple(sorted(found))


def leave_files(reach: Reach) -> None:
    """Take all files but those of `reach` away, and the capabilities. Raises OSError."""
    if sys.platform != "linux":
        return
    seccomp.prctl(seccomp.PR_SET_NO_NEW_PRIVS, 1)
    if landlock.version():
        landlock.restrict(_rules(reach), landlock.version())
    _drop_capabilities()


def _rules(reach: Reach) -> list[tuple[Path, int]]:
    executes = landlock.EXECUTE if reach.programs else 0
    rules = [(Path(path), landlock.READ | executes) for path in SYSTEM]
    rules += [(path, landlock.READ) for path in reach.reads]
    rules += [(path, landlock.READ | landlock.EXECUTE) for path in reach.programs]
    rules += [(Path("/dev/null"), landlock.READ_FILE | landlock.WRITE_FILE)]
    if reach.folder is not None:
        rules.append((reach.folder, landlock.WRITE))
    return rules


def leave_system_calls(*, but_execute: bool = False, but_threads: bool = False) -> None:
    """Take the network, other processes and the like away (seccomp.py). Raises OSError."""
    if seccomp.is_available():
        seccomp.refuse_system_calls(but_execute=but_execute, but_threads=but_threads)


def leave_open_files(*but: int) -> None:
    """Close all files and sockets that were open in the process, and replace the standard streams by /dev/null.

    A process that was taken over would write into the worker's log, or tell its resource tracker what to delete.
    """
    null = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    first = 3
    for kept in sorted(but):
        os.closerange(first, kept)
        first = kept + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def _drop_capabilities() -> None:
    """Root without them may lift no limit, and modes of files hold for it. Programs that it starts get none."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    if ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "capset failed")
