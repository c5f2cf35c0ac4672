"""The filter of system calls, run by a small machine of our own: what the kernel would say."""

import errno
import os
import re
import struct
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies
from lowrank.sandbox import calls

ALLOW, KILL = 0x7FFF0000, 0x80000000
MACHINES = tuple(calls.AUDIT_ARCHITECTURE)


def refused(code):
    return 0x00050000 | code


def run(program, architecture, number, arguments=(0,) * 6):
    """Return what a filter says to a call, as the kernel's manual has the machine."""
    data = struct.pack("<iIQ6Q", number, architecture, 0, *arguments)
    steps = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, value = steps[at]
        at += 1
        if code == 0x06:
            return value
        if code == 0x20:
            assert value % 4 == 0 and value < 64
            (accumulator,) = struct.unpack_from("<I", data, value)
            continue
        holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: accumulator & value}
        at += if_true if holds[code] else if_false


def expected(machine, may_write, threads, number, arguments):
    """The same by the tables, without a machine."""
    column = MACHINES.index(machine)
    first = {name: numbers for name, (numbers, *_) in (calls.BY_VALUE | calls.OPENING).items()}
    named = {own[column]: name for name, own in (calls.READING | calls.WRITING | first).items()}
    name = named.get(number)
    low = [argument & 0xFFFFFFFF for argument in arguments]
    if number == (56, 220)[column]:
        return ALLOW if threads and low[0] & 0x10000 else refused(errno.EAGAIN)
    if name in calls.BY_VALUE:
        _, place, values = calls.BY_VALUE[name]
        return ALLOW if low[place] in values else refused(errno.ENOSYS)
    if name in calls.OPENING:
        changes = low[calls.OPENING[name][1]] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        return refused(errno.EPERM) if changes and not may_write else ALLOW
    allowed = name in calls.READING or (may_write and name in calls.WRITING)
    return ALLOW if allowed else refused(errno.ENOSYS)


arguments = strategies.one_of(
    strategies.integers(0, 2**64 - 1),
    strategies.sampled_from([0, 1, 2, 0x5401, 0x5413, 1030, 1031, 0x10000, 0o100, 0o1000]),
)


@hypothesis.given(
    strategies.sampled_from(MACHINES),
    *(strategies.booleans(), strategies.booleans()),
    strategies.one_of(strategies.integers(0, 500), strategies.integers(0, 2**30 - 1)),
    strategies.tuples(*[arguments] * 6),
)
def test_the_filter_says_what_the_tables_say(machine, may_write, threads, number, own):
    program = calls.program(machine, may_write, threads)
    found = run(program, calls.AUDIT_ARCHITECTURE[machine], number, own)
    assert found == expected(machine, may_write, threads, number, own)


@pytest.mark.parametrize("machine", MACHINES)
def test_other_architectures_and_the_older_calls_of_x86(machine):
    program = calls.program(machine, True, True)
    own = calls.AUDIT_ARCHITECTURE[machine]
    for other in {*calls.AUDIT_ARCHITECTURE.values(), 0x40000003, 0} - {own}:
        assert run(program, other, 0) == KILL
    for number in range(calls.X32_BIT, calls.X32_BIT + 600):
        assert run(program, own, number) == refused(errno.ENOSYS)
    assert run(program, own, -1) == refused(errno.ENOSYS)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_is_short_enough(machine):
    for may in (True, False):
        assert len(calls.program(machine, may, may)) // 8 <= 4096  # BPF_MAXINSNS


@pytest.mark.parametrize(
    ("column", "header"),
    [
        (0, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        (1, "/usr/include/asm-generic/unistd.h"),
    ],
)
def test_the_numbers_are_those_of_the_kernel(column, header):
    if not Path(header).exists():
        pytest.skip(f"{header} is not installed")
    pairs = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\s", Path(header).read_text())
    numbers = {name: int(number) for name, number in pairs}
    others = {name: own for name, (own, *_) in (calls.BY_VALUE | calls.OPENING).items()}
    for name, own in (calls.READING | calls.WRITING | others).items():
        if own[column] is not None:
            theirs = "fstatat" if column == 1 and name == "newfstatat" else name
            assert numbers[theirs] == own[column], name
    assert numbers["clone"] == (56, 220)[column]


def test_nothing_that_leaves_the_process_is_allowed():
    allowed = {*calls.READING, *calls.WRITING, *calls.BY_VALUE, *calls.OPENING}
    assert allowed.isdisjoint(
        {
            *("socket", "connect", "bind", "fork", "vfork", "clone3", "execve", "execveat"),
            *("kill", "tkill", "tgkill", "ptrace", "mount", "unshare", "setns", "bpf", "keyctl"),
            *("memfd_create", "shmget", "mq_open", "io_uring_setup", "userfaultfd", "mknod"),
            *("process_vm_readv", "pidfd_open", "prctl", "seccomp", "setuid", "prlimit64"),
            *("link", "flock", "timer_create", "inotify_init", "epoll_create1"),
            *("fchmod", "fchown", "fsetxattr"),  # of what is open from outside: the null device
        }
    )
