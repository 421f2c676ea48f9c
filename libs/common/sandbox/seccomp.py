"""Refuses system calls to a process: the network, other processes, and what Landlock leaves open.

A document must not be able to send or fetch anything, to start or touch another process, or to change what it can
name. It can have no process beside its own, so nothing is left when that is killed, and no thread unless a decoder
cannot do without. A filter refuses the calls of the table below, and those that came with Linux 5.1 and later, as
an older kernel does: programs are used to that. It needs no privilege; child processes and threads inherit it.
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
from functools import cache

PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 4, 38, 22, 2
PR_SET_PDEATHSIG = 1
LOAD, EQUAL, AT_LEAST, AND, RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
NUMBER_AT, ARCHITECTURE_AT = 0, 4
ALLOW, REFUSE, UNKNOWN = 0x7FFF0000, 0x00050000 | errno.EACCES, 0x00050000 | errno.ENOSYS
X32_BIT = 0x40000000
"""Set in the numbers of x32 system calls, which x86_64 kernels accept as well."""
UNKNOWN_FROM = 424
"""The first number that is the same on all architectures: pidfd_send_signal, io_uring_setup, clone3 and so on."""
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""The audit number of each architecture."""
EXECUTE = "execve 59 221, execveat 322 281"
REFUSED = (
    # the network, also by a socket that somebody left open
    "socket 41 198, socketpair 53 199, bind 49 200, listen 50 201, accept 43 202, connect 42 203",
    "getsockname 51 204, getpeername 52 205, sendto 44 206, recvfrom 45 207, setsockopt 54 208",
    "getsockopt 55 209, shutdown 48 210, sendmsg 46 211, recvmsg 47 212, accept4 288 242, recvmmsg 299 243",
    "sendmmsg 307 269",
    # more processes, and leaving the group or the namespaces of this one
    "fork 57 -, vfork 58 -, clone 56 220, setsid 112 157, setpgid 109 154, unshare 272 97, setns 308 268",
    # other processes: their signals, memory, priority and limits
    "kill 62 129, tkill 200 130, tgkill 234 131, rt_sigqueueinfo 129 138, rt_tgsigqueueinfo 297 240",
    "ptrace 101 117, process_vm_readv 310 270, process_vm_writev 311 271, kcmp 312 272, get_robust_list 274 100",
    "setpriority 141 140, ioprio_set 251 30, sched_setparam 142 118, sched_setscheduler 144 119",
    "sched_setaffinity 203 122, sched_setattr 314 274, migrate_pages 256 238, move_pages 279 239",
    "setrlimit 160 164",
    # memory and messages that outlive a process or that no limit counts
    "shmget 29 194, shmctl 31 195, shmat 30 196, shmdt 67 197, semget 64 190, semctl 66 191, semtimedop 220 192",
    "semop 65 193, msgget 68 186, msgctl 71 187, msgrcv 70 188, msgsnd 69 189, mq_open 240 180",
    "mq_unlink 241 181, mq_timedsend 242 182, mq_timedreceive 243 183, mq_notify 244 184, mq_getsetattr 245 185",
    "memfd_create 319 279, add_key 248 217, request_key 249 218, keyctl 250 219, io_setup 206 0",
    "io_submit 209 2, fallocate 285 47, vmsplice 278 75, splice 275 76, tee 276 77",
    # what Landlock does not ask about: modes, owners, times, attributes; handles and news of files
    "chmod 90 -, fchmod 91 52, fchmodat 268 53, chown 92 -, lchown 94 -, fchown 93 55, fchownat 260 54",
    "utime 132 -, utimes 235 -, futimesat 261 -, utimensat 280 88, setxattr 188 5, lsetxattr 189 6",
    "fsetxattr 190 7, removexattr 197 14, lremovexattr 198 15, fremovexattr 199 16, truncate 76 45",
    "inotify_init 253 -, inotify_init1 294 26, inotify_add_watch 254 27, fanotify_init 300 262",
    "fanotify_mark 301 263, name_to_handle_at 303 264, open_by_handle_at 304 265",
    # the machine
    "mount 165 40, umount2 166 39, pivot_root 155 41, chroot 161 51, swapon 167 224, swapoff 168 225",
    "acct 163 89, quotactl 179 60, sync 162 81, syncfs 306 267, reboot 169 142, syslog 103 116",
    "sethostname 170 161, setdomainname 171 162, settimeofday 164 170, clock_settime 227 112, adjtimex 159 171",
    "clock_adjtime 305 266, init_module 175 105, finit_module 313 273, delete_module 176 106",
    "kexec_load 246 104, kexec_file_load 320 294, iopl 172 -, ioperm 173 -, modify_ldt 154 -, vhangup 153 58",
    "uselib 134 -, personality 135 92, bpf 321 280, perf_event_open 298 241, userfaultfd 323 282",
    "lookup_dcookie 212 18, _sysctl 156 -",
    # becoming somebody else
    "setuid 105 146, setgid 106 144, setreuid 113 145, setregid 114 143, setgroups 116 159, setresuid 117 147",
    "setresgid 119 149, setfsuid 122 151, setfsgid 123 152, capset 126 91",
)
"""System calls, each with its number on x86_64 and on aarch64, or - where there is none."""
REFUSED_IF = (
    # system call, its argument, a mask, and the values after the mask that are refused
    ("open 2 -", 1, 0o1003, (0o1000, 0o1003)),  # emptying a file that is opened for reading only
    ("openat 257 56", 2, 0o1003, (0o1000, 0o1003)),
    ("mmap 9 222", 3, 0x21, (0x01,)),  # sharing a file: what is written so is not counted
    ("prctl 157 167", 0, 0xFFFFFFFF, (PR_SET_PDEATHSIG,)),  # outliving the process that has started it
    ("fcntl 72 25", 1, 0xFFFFFFFF, (8, 10, 15, 1024, 1026)),  # F_SETOWN, SIG, OWN_EX, LEASE, NOTIFY: signals
)
CLONE, CLONE_THREAD = "clone 56 220", 0x00010000
"""Without this flag it makes a process, with it a thread of this one, which ends with it."""
SETS_LIMITS = "prlimit64 302 261"
"""Refused with a new limit, its second argument: root may raise its own, and anybody may lower those of others."""

Rule = tuple[int, int, int, int]
"""A BPF instruction: code, jump if true, jump if false, operand."""
RULE_FORMAT = "=HBBI"


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def is_available() -> bool:
    """Whether this system has the filters, and this module knows its architecture."""
    return platform.machine() in ARCHITECTURES and os.path.exists("/proc/sys/kernel/seccomp/actions_avail")


def refuse_system_calls(*, but_execute: bool = False, but_threads: bool = False) -> None:
    """Install the filter for this process and its children, irreversibly. Raises OSError.

    `but_execute`: the process may become another program. `but_threads`: it may have threads.
    """
    rules = filter_of(platform.machine(), but_execute=but_execute, but_threads=but_threads)
    program = _Program(len(rules) // struct.calcsize(RULE_FORMAT), rules)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(program))


def prctl(option: int, *arguments: object) -> None:
    """Call prctl(2). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, *arguments, *[0] * (4 - len(arguments))) < 0:
        raise OSError(ctypes.get_errno(), f"prctl {option} failed")


def hide_process_memory() -> None:
    """Hide this process's memory and environment from other processes of its user, but not from root."""
    if os.uname().sysname == "Linux":
        prctl(PR_SET_DUMPABLE, 0)


def network_is_closed() -> bool:
    """Whether this process cannot open sockets."""
    try:
        socket.socket().close()
    except PermissionError:
        return True
    return False


def numbers(calls: str, machine: str) -> dict[str, int]:
    """The numbers that the calls of a line of the tables have on `machine`."""
    fields = [call.split() for call in calls.split(",") if call.strip()]
    column = 1 + list(ARCHITECTURES).index(machine)
    return {field[0]: int(field[column]) for field in fields if field[column] != "-"}


@cache
def filter_of(machine: str, *, but_execute: bool = False, but_threads: bool = False) -> bytes:
    """The filter as the kernel wants it."""
    rules = _rules(machine, but_execute=but_execute, but_threads=but_threads)
    return b"".join(struct.pack(RULE_FORMAT, *rule) for rule in rules)


def _rules(machine: str, *, but_execute: bool = False, but_threads: bool = False) -> list[Rule]:
    """The filter. It refuses other numberings of system calls altogether."""
    refused = {number for line in REFUSED for number in numbers(line, machine).values()}
    refused |= set() if but_execute else set(numbers(EXECUTE, machine).values())
    rules = [(LOAD, 0, 0, NUMBER_AT), (AT_LEAST, 0, 1, X32_BIT), (RETURN, 0, 0, REFUSE)]
    rules += [(AT_LEAST, 0, 1, UNKNOWN_FROM), (RETURN, 0, 0, UNKNOWN)]
    refused -= set(numbers(CLONE, machine).values()) if but_threads else set()
    but_a_thread = ((CLONE, 0, CLONE_THREAD, (0,)),) if but_threads else ()
    for calls, argument, mask, values in (*REFUSED_IF, *but_a_thread):
        for number in numbers(calls, machine).values():
            tests = [test for value in values for test in ((EQUAL, 0, 1, value), (RETURN, 0, 0, REFUSE))]
            rules += _only_for(number, [(LOAD, 0, 0, _argument_at(argument)), (AND, 0, 0, mask), *tests])
    lower, higher = _argument_at(1), _argument_at(1) + 4
    is_null = [(LOAD, 0, 0, lower), (EQUAL, 0, 2, 0), (LOAD, 0, 0, higher), (EQUAL, 1, 0, 0)]
    for number in numbers(SETS_LIMITS, machine).values():
        rules += _only_for(number, [*is_null, (RETURN, 0, 0, REFUSE)])
    for number in sorted(refused):
        rules += [(EQUAL, 0, 1, number), (RETURN, 0, 0, REFUSE)]
    known = [(LOAD, 0, 0, ARCHITECTURE_AT), (EQUAL, 1, 0, ARCHITECTURES[machine]), (RETURN, 0, 0, REFUSE)]
    return [*known, *rules, (RETURN, 0, 0, ALLOW)]


def _only_for(number: int, rules: list[Rule]) -> list[Rule]:
    """Rules for one system call; if they do not refuse it, it is allowed."""
    return [(EQUAL, 0, len(rules) + 1, number), *rules, (RETURN, 0, 0, ALLOW)]


def _argument_at(place: int) -> int:
    """The offset of the lower half of an argument, on little-endian machines."""
    return 16 + 8 * place
