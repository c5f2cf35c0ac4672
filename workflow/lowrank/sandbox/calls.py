"""The system calls that a program may make: a list of what is allowed, as a seccomp filter.

What is not on the list does not exist for the program (`ENOSYS`): sockets, new processes, mounts,
tracing, signals to others, shared memory, and whatever later kernels add. A program may start
threads. They share its memory, so the limit on its address space is a limit on all it can take.

The filter is a program of the kernel's packet filter, in the form that seccomp(2) describes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

__all__ = ["install", "is_supported"]

AUDIT_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""What the kernel calls an architecture, by what `uname` calls it (linux/audit.h)."""

X32_BIT = 0x40000000
"""Set in the numbers of x86-64's second, older set of calls."""

CLONE_THREAD = 0x00010000

# From a call to its number on x86-64 and on aarch64; None where there is none.
READING: dict[str, tuple[int | None, int | None]] = {
    **{"read": (0, 63), "write": (1, 64), "close": (3, 57), "lseek": (8, 62), "readv": (19, 65)},
    **{"writev": (20, 66), "pread64": (17, 67), "pipe": (22, None), "pipe2": (293, 59)},
    **{"dup": (32, 23), "dup2": (33, None), "dup3": (292, 24), "select": (23, None)},
    **{"pselect6": (270, 72), "poll": (7, None), "ppoll": (271, 73), "fadvise64": (221, 223)},
    # What files there are.
    **{"fstat": (5, 80), "stat": (4, None), "lstat": (6, None), "newfstatat": (262, 79)},
    **{"statx": (332, 291), "access": (21, None), "faccessat": (269, 48)},
    **{"faccessat2": (439, 439), "getdents64": (217, 61), "readlink": (89, None)},
    **{"readlinkat": (267, 78), "getcwd": (79, 17), "chdir": (80, 49)},
    # Its own memory, threads and signal handlers.
    **{"mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216)},
    **{"madvise": (28, 233), "brk": (12, 214), "futex": (202, 98), "set_robust_list": (273, 99)},
    **{"rseq": (334, 293), "set_tid_address": (218, 96), "sched_yield": (24, 124)},
    **{"sched_getaffinity": (204, 123), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135)},
    **{"rt_sigreturn": (15, 139), "sigaltstack": (131, 132), "restart_syscall": (219, 128)},
    **{"exit": (60, 93), "exit_group": (231, 94)},
    # What time it is, and who it is.
    **{"nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113)},
    **{"clock_getres": (229, 114), "gettimeofday": (96, 169), "time": (201, None)},
    **{"times": (100, 153), "getitimer": (36, 102), "setitimer": (38, 103), "alarm": (37, None)},
    **{"getpid": (39, 172), "getppid": (110, 173), "gettid": (186, 178), "getuid": (102, 174)},
    **{"geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177)},
    **{"getpgrp": (111, None), "getrusage": (98, 165), "uname": (63, 160)},
    **{"getrandom": (318, 278), "umask": (95, 166)},
}
# Not `fchmod`: the null device is open, and lies outside of the room.
WRITING: dict[str, tuple[int | None, int | None]] = {
    **{"pwrite64": (18, 68), "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None)},
    **{"unlink": (87, None), "unlinkat": (263, 35), "rename": (82, None), "renameat": (264, 38)},
    **{"renameat2": (316, 276), "symlink": (88, None), "symlinkat": (266, 36)},
    **{"chmod": (90, None), "fchmodat": (268, 53), "ftruncate": (77, 46)},
    **{"truncate": (76, 45), "fsync": (74, 82), "fdatasync": (75, 83), "utimensat": (280, 88)},
}

# From a call to its numbers, the place of the argument that decides, and its allowed values.
BY_VALUE: dict[str, tuple[tuple[int, int], int, tuple[int, ...]]] = {
    "ioctl": ((16, 29), 1, (0x5401, 0x5450, 0x5451)),  # TCGETS (is it a terminal?), close on exec
    "fcntl": ((72, 25), 1, (0, 1, 2, 3, 4, 1030)),  # duplicate, flags: no locks, no larger pipes
}
OPENING = {"open": ((2, None), 1), "openat": ((257, 56), 2)}
"""From a call to its numbers and the place of its flags."""

CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_NUMBER, _ARCHITECTURE = 0, 4
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2


def is_supported() -> bool:
    """Return whether the calls of this machine's architecture are known here."""
    return platform.machine() in AUDIT_ARCHITECTURE


def program(machine: str, may_write: bool, may_start_threads: bool) -> bytes:
    """Return the filter.

    Parameters
    ----------
    machine
        One of `AUDIT_ARCHITECTURE`.
    may_write
        Whether files may be changed.
    may_start_threads
        Whether threads may be started.
    """
    column = list(AUDIT_ARCHITECTURE).index(machine)
    missing, denied = _ERRNO | errno.ENOSYS, _ERRNO | errno.EPERM
    made = [_step(_LOAD, _ARCHITECTURE)]
    made += [_step(_EQUAL, AUDIT_ARCHITECTURE[machine], 1, 0), _step(_RETURN, _KILL)]
    made += [_step(_LOAD, _NUMBER)]
    made += [_step(_AT_LEAST, X32_BIT, 0, 1), _step(_RETURN, missing)]
    clone = (56, 220)[column]
    threads = [(_ANY_BIT, CLONE_THREAD)] if may_start_threads else []
    made += _block(clone, 0, threads, _ALLOW, _ERRNO | errno.EAGAIN)
    for numbers, place, values in BY_VALUE.values():
        tests = [(_EQUAL, value) for value in values]
        made += _block(numbers[column], place, tests, _ALLOW, missing)
    for opening, place in OPENING.values():
        number = opening[column]
        if number is not None:
            tests = [] if may_write else [(_ANY_BIT, CHANGING)]
            made += _block(number, place, tests, denied, _ALLOW)
    for numbers in (READING | (WRITING if may_write else {})).values():
        if numbers[column] is not None:
            made += [_step(_EQUAL, numbers[column], 0, 1), _step(_RETURN, _ALLOW)]
    return b"".join([*made, _step(_RETURN, missing)])


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def _block(
    number: int, place: int, tests: list[tuple[int, int]], if_any: int, otherwise: int
) -> list[bytes]:
    """Return the steps of one call that an argument decides: what if a test holds, what if none.

    The lower half of an argument is read; all those that decide have 32 bits.
    """
    steps = [_step(_LOAD, 16 + 8 * place)]
    for kind, value in tests:
        steps += [_step(kind, value, 0, 1), _step(_RETURN, if_any)]
    steps += [_step(_RETURN, otherwise)]
    return [_step(_EQUAL, number, 0, len(steps)), *steps]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def install(may_write: bool, may_start_threads: bool) -> None:
    """Let this process, and what it starts, make the listed calls alone, from now on and for good.

    Parameters
    ----------
    may_write, may_start_threads
        See `program`.

    Raises
    ------
    OSError
        If the kernel refuses.
    """
    steps = program(platform.machine(), may_write, may_start_threads)
    buffer = ctypes.create_string_buffer(steps, len(steps))
    given = _Program(len(steps) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    for call in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(given), 0, 0),
    ):
        if prctl(*call) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"prctl {call[0]}: {os.strerror(code)}")
