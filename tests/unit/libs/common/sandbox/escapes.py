"""What a document would try that has taken its process over. Each attempt is harmless should it succeed.

It runs inside the sandbox, and says what came of each attempt: the name of the error, or `done`.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import platform
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import shared_memory
from pathlib import Path

from libs.common.sandbox import seccomp

NEWER = {
    "pidfd_send_signal": 424, "io_uring_setup": 425, "open_tree": 428, "fsopen": 430, "pidfd_open": 434,
    "clone3": 435, "openat2": 437, "pidfd_getfd": 438, "process_madvise": 440, "memfd_secret": 447,
    "fchmodat2": 452,
}  # fmt: skip
EXACTLY = {
    "link another's file": "EXDEV",  # how Landlock refuses to link between folders
    "open descriptors": "done",  # there are no others to be had
}
"""Whatever is not here is refused with EACCES."""
F_SETOWN, PTRACE_ATTACH, PR_SET_PDEATHSIG = 8, 16, 1


@dataclass(frozen=True)
class Surroundings:
    """Who and what is there to be reached. The files belong to the user who tries."""

    victim: int
    """A process of the same user."""
    secret: Path
    source: Path
    """The one file that may be read."""
    folder: Path
    """The one folder that may be written."""


_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: int) -> None:
    """A system call of the tables or of NEWER."""
    number = NEWER.get(name)
    for line in (*seccomp.REFUSED, seccomp.EXECUTE, seccomp.SETS_LIMITS, *(one[0] for one in seccomp.REFUSED_IF)):
        number = seccomp.numbers(line, platform.machine()).get(name, number)
    assert number is not None, name
    result = _libc.syscall(number, *arguments, *[0] * (6 - len(arguments)))
    if result == 0 and name in ("fork", "vfork", "clone", "clone3"):
        os._exit(0)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)


def _shared(path: Path) -> None:
    with path.open("w+b") as file:
        file.write(b"x" * 4096)
        file.flush()
        mmap.mmap(file.fileno(), 4096)


def _open(path: Path, flags: int) -> None:
    os.close(os.open(path, flags))


def _threads() -> None:
    try:
        threading.Thread(target=time.sleep, args=(0,)).start()
    except RuntimeError:
        raise PermissionError(errno.EACCES, "no thread") from None


def _own_descriptors() -> None:
    """Fails with EMFILE if more than the three streams and the way to answer is open."""
    standard = {os.fstat(number).st_rdev for number in (0, 1, 2)}
    open_ones = [number for number in range(3, 1024) if _is_open(number)]
    if standard != {os.makedev(1, 3)} or len(open_ones) != 1:
        raise OSError(errno.EMFILE, f"{standard} {open_ones}")


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _raise_memory_limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _attempts(here: Surroundings) -> dict[str, Callable[[], object]]:
    folder, secret, victim = here.folder, here.secret, here.victim
    return {
        # files
        "read another's file": secret.read_bytes,
        "list another's folder": lambda: list(secret.parent.iterdir()),
        "list the root": lambda: os.listdir("/"),
        "read /etc/passwd": Path("/etc/passwd").read_bytes,
        "read the environment of another process": Path(f"/proc/{victim}/environ").read_bytes,
        "open the memory of another process": lambda: _open(Path(f"/proc/{victim}/mem"), os.O_RDWR),
        "read one's own memory": lambda: _open(Path("/proc/self/mem"), os.O_RDONLY),
        "set a kernel parameter": lambda: _open(Path("/proc/sys/kernel/core_pattern"), os.O_WRONLY),
        "write the source": lambda: _open(here.source, os.O_WRONLY),
        "empty the source": lambda: _open(here.source, os.O_RDONLY | os.O_TRUNC),
        "truncate the source": lambda: os.truncate(here.source, 0),
        "delete the source": here.source.unlink,
        "write another's file": lambda: _open(secret, os.O_WRONLY | os.O_APPEND),
        "write beside another's file": lambda: secret.with_name("planted").write_bytes(b""),
        "write the interpreter": lambda: _open(Path(os.__file__), os.O_WRONLY),
        "write into /dev/shm": lambda: shared_memory.SharedMemory(create=True, size=1),
        "delete another's file": secret.unlink,
        "rename another's file": lambda: secret.rename(folder / "taken"),
        "link another's file": lambda: os.link(secret, folder / "linked"),
        "leave a symbolic link": lambda: (folder / "link").symlink_to(secret),
        "leave a pipe": lambda: os.mkfifo(folder / "pipe"),
        "leave a folder": (folder / "within").mkdir,
        "leave a device": lambda: os.mknod(folder / "null", 0o20666, os.makedev(1, 3)),
        "change a mode": lambda: secret.chmod(0o666),
        "change an owner": lambda: os.chown(secret, os.getuid(), os.getgid()),
        "change times": lambda: os.utime(secret),
        "set an attribute": lambda: os.setxattr(secret, "user.x", b"x"),
        "watch a folder": lambda: _call("inotify_init1"),
        "open by handle": lambda: _call("name_to_handle_at"),
        # processes
        "fork": os.fork,
        "start a thread": _threads,
        "execute a shell": lambda: os.execv("/bin/sh", ["sh", "-c", "exit 3"]),  # noqa: S606
        "leave the process group": lambda: os.setpgid(0, 0),
        "leave the session": os.setsid,
        "outlive the fork server": lambda: _call("prctl", PR_SET_PDEATHSIG, 0),
        "signal another process": lambda: os.kill(victim, 0),
        "signal the parent": lambda: os.kill(os.getppid(), 0),
        "signal everybody": lambda: os.kill(-1, 0),
        "signal a thread": lambda: _call("tkill", victim, 0),
        "signal a thread of a group": lambda: _call("tgkill", victim, victim, 0),
        "queue a signal": lambda: _call("rt_sigqueueinfo", victim, 0),
        "have the kernel signal another process": lambda: fcntl.fcntl(0, F_SETOWN, victim),
        "trace another process": lambda: _call("ptrace", PTRACE_ATTACH, victim),
        "read another's memory": lambda: _call("process_vm_readv", victim),
        "write another's memory": lambda: _call("process_vm_writev", victim),
        "limit another process": lambda: resource.prlimit(victim, resource.RLIMIT_CORE, (0, 0)),
        "lift a limit": _raise_memory_limit,
        "slow another process down": lambda: os.setpriority(os.PRIO_PROCESS, victim, 19),
        "pin another process": lambda: os.sched_setaffinity(victim, {0}),
        # the network, and what outlives a process or is not counted
        "a socket": socket.socket,
        "a unix socket": lambda: socket.socket(socket.AF_UNIX),
        "a netlink socket": lambda: socket.socket(16, socket.SOCK_RAW),
        "a pair of sockets": socket.socketpair,
        "a file in memory": lambda: os.memfd_create("x"),
        "share a file's pages": lambda: _shared(folder / "shared"),
        "reserve disk space": lambda: os.posix_fallocate(1, 0, 1),
        "open descriptors": _own_descriptors,
        # becoming somebody else, and new namespaces
        "become root": lambda: os.setuid(0),
        "become another": lambda: os.setresuid(1, 1, 1),
        "a namespace of users": lambda: _call("unshare", 0x10000000),
        "another's namespace": lambda: _call("setns", 0),
    }


def try_all(here: Surroundings) -> dict[str, str]:
    """What came of each attempt, of each call in the filter's table, and of each call of newer kernels."""
    attempts = _attempts(here)
    tables = [seccomp.numbers(line, platform.machine()) for line in (*seccomp.REFUSED, seccomp.EXECUTE)]
    for name in [name for table in tables for name in table] + list(NEWER):
        attempts[f"system call {name}"] = lambda name=name: _call(name)  # type: ignore[misc]
    return {name: _outcome(attempt) for name, attempt in attempts.items()}


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "?")
    return "done"


def read_and_write(here: Surroundings) -> str:
    """What is allowed: to read the source, and to write, rename and delete in the folder."""
    first, second = here.folder / "first", here.folder / "second"
    first.write_bytes(here.source.read_bytes())
    first.rename(second)
    found = ",".join(sorted(path.name for path in here.folder.iterdir()))
    second.unlink()
    (here.folder / "kept").write_text("kept")
    Path("/dev/null").write_bytes(b"x")
    return found


def wait_for_a_signal() -> None:
    while True:
        signal.pause()
