"""Namespaces of Linux: a room in which a process sees one folder of Python and nothing else.

Only the standard library is imported: this runs before a program that must find nothing to take.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Sequence
from pathlib import Path

__all__ = ["die_with_parent", "enter", "furnish", "give_up_rights", "map_users"]

_libc = ctypes.CDLL(None, use_errno=True)

_NEW_USER, _NEW_MOUNTS, _NEW_PROCESSES = 0x10000000, 0x00020000, 0x20000000
_NEW_NETWORK, _NEW_IPC, _NEW_NAMES, _NEW_GROUPS = 0x40000000, 0x08000000, 0x04000000, 0x02000000

_READ_ONLY, _NO_SUID, _NO_DEVICES, _NO_EXECUTION = 1, 2, 4, 8
_REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 0x20, 0x1000, 0x4000, 0x40000
_DETACH = 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 1, 4, 24
_PR_SET_SECUREBITS, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 28, 38, 47
_AMBIENT_CLEAR_ALL = 4
_NO_ROOT_LOCKED = 0b101111  # neither uid 0 nor a change of it brings rights; for good
_SIGKILL = 9

NOBODY = 65534
"""The user and group of the program, as it sees them."""

STAGE = "/tmp"
"""A folder that every machine has; the new root is mounted on it, for this process alone."""


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def enter() -> None:
    """Leave all namespaces of the host; the next process that is started is the first of its own.

    Raises
    ------
    OSError
        If the kernel, or what guards it, does not allow it.
    """
    flags = _NEW_USER | _NEW_MOUNTS | _NEW_PROCESSES | _NEW_NETWORK | _NEW_IPC | _NEW_NAMES
    if _libc.unshare(flags | _NEW_GROUPS) != 0:
        # One that keeps groups of control apart is missing on old kernels.
        _check(_libc.unshare(flags), "unshare")


def map_users(process: int) -> None:
    """Say, from outside, who the users of a process in a new user namespace are.

    A program of root's is to run as nobody, so nobody is mapped beside root, who makes the room.
    Anyone else may map but himself, and is nobody inside.

    Raises
    ------
    OSError
        If the kernel does not allow it.
    """
    own_user, own_group = os.geteuid(), os.getegid()
    alone = (f"{NOBODY} {own_user} 1\n", f"{NOBODY} {own_group} 1\n")
    if own_user == 0:
        try:
            both = f"0 0 1\n{NOBODY} {NOBODY} 1\n"
            return _write_maps(process, both, both)
        except OSError:  # root of a container that has no nobody
            pass
    with open(f"/proc/{process}/setgroups", "w", encoding="ascii") as file:
        file.write("deny")
    _write_maps(process, *alone)


def _write_maps(process: int, users: str, groups: str) -> None:
    for name, content in (("gid_map", groups), ("uid_map", users)):
        descriptor = os.open(f"/proc/{process}/{name}", os.O_WRONLY)
        try:
            os.write(descriptor, content.encode())
        finally:
            os.close(descriptor)


def furnish(visible: Sequence[str], hidden: Sequence[str], size: int, files: int) -> None:
    """Make a root with a few folders of the host, read only, and an empty `/tmp`; go there.

    Parameters
    ----------
    visible
        Folders to see, at their own paths.
    hidden
        Folders within them to see empty.
    size
        Bytes that `/tmp` holds.
    files
        Files that it holds.

    Raises
    ------
    OSError
        If something cannot be mounted.
    """
    _check(_libc.sethostname(b"sandbox", 7), "sethostname")
    _mount(None, "/", None, _RECURSIVE | _PRIVATE)  # what is mounted from here on stays here
    _mount("tmpfs", STAGE, "tmpfs", _NO_SUID | _NO_DEVICES, f"size={1 << 20},nr_inodes=256")
    for name in ("host", "room"):
        Path(STAGE, name).mkdir()
    _pivot(STAGE, f"{STAGE}/host")
    _mount("tmpfs", "/room", "tmpfs", _NO_SUID | _NO_DEVICES, f"size={1 << 20},nr_inodes=256")
    Path("/room/tmp").mkdir()
    limits = f"size={size},nr_inodes={files},mode=1777"
    _mount("tmpfs", "/room/tmp", "tmpfs", _NO_SUID | _NO_DEVICES | _NO_EXECUTION, limits)
    for folder in visible:  # after that, for a Python in `/tmp`
        Path(f"/room{folder}").mkdir(parents=True, exist_ok=True)
        _show(f"/host{folder}", f"/room{folder}")
    for folder in hidden:
        _mount("tmpfs", f"/room{folder}", "tmpfs", _READ_ONLY | _NO_SUID | _NO_DEVICES)
    _check(_libc.umount2(b"/host", _DETACH), "umount")
    os.chdir("/room")
    _pivot(".", ".")  # the old root now lies upon the new one
    _check(_libc.umount2(b".", _DETACH), "umount")
    _mount(None, "/", None, _REMOUNT | _BIND | _READ_ONLY | _NO_SUID | _NO_DEVICES)
    os.chdir("/tmp")


def _show(source: str, target: str) -> None:
    """Mount a folder read only. What it may not do on the host already, it must not here."""
    _mount(source, target, None, _BIND)  # without what is mounted below it
    kept = os.statvfs(target).f_flag & ~_REMOUNT & 0x0F
    times = {0x400: 0x400, 0x800: 0x800, 0x1000: 1 << 21}  # how access times are kept
    for flag, mounted in times.items():
        kept |= mounted if os.statvfs(target).f_flag & flag else 0
    _mount(None, target, None, _REMOUNT | _BIND | _READ_ONLY | _NO_SUID | _NO_DEVICES | kept)


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    arguments = [None if own is None else own.encode() for own in (source, target, kind)]
    result = _libc.mount(*arguments, ctypes.c_ulong(flags), data.encode() or None)
    _check(result, f"mount {target}")


def _pivot(new: str, old: str) -> None:
    number = _PIVOT_ROOT[platform.machine()]
    _check(_libc.syscall(number, new.encode(), old.encode()), "pivot_root")


def give_up_rights(as_nobody: bool) -> None:
    """Give up every capability, and that any program which is started could bring one back.

    Parameters
    ----------
    as_nobody
        Whether to be the user `NOBODY` of a room as well, whoever that is outside of it.

    Raises
    ------
    OSError
        If one stays.
    """
    capability = 0
    while _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    _libc.prctl(_PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL, 0, 0, 0)
    _libc.prctl(_PR_SET_SECUREBITS, _NO_ROOT_LOCKED, 0, 0, 0)
    if as_nobody and os.getuid() != NOBODY:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def die_with_parent(is_opaque: bool = False) -> None:
    """Let this process be killed when its parent ends.

    Parameters
    ----------
    is_opaque
        Whether others may neither look into it nor keep its memory when it crashes.
    """
    _check(_libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0), "prctl")
    if is_opaque:
        _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl")
