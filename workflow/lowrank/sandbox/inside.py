"""The processes of one run: who makes the room, who runs the program, who judges it.

The program and its tests are in two processes. The *worker* has the program's text, and calls its
function when it is asked to. The *judge* has the tests, asks the worker, and compares plain values.
So a program cannot read its tests, change what they compare with, or say itself that they hold: it
can only answer. Above both stands a *guard*, the first process of the room, which measures the time
and with which everything ends.

Only the standard library and this package are imported, and nothing of either is a secret.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import math
import os
import random
import resource
import select
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from lowrank.sandbox import calls, plain, room
from lowrank.sandbox.outcomes import (
    CRASHED,
    ENDED,
    FAILED,
    OUT_OF_MEMORY,
    PASSED,
    TIMED_OUT,
    TOO_LONG,
)

START_SECONDS = 20.0
"""Most seconds until a program begins; a machine that takes longer has another trouble."""

OPEN_FILES = 32

Job = Mapping[str, Any]


class CandidateError(Exception):
    """The program's function raised something; what the tests see of it."""


class _Verdict(BaseException):  # so that no test catches it
    """The outcome is known before the tests are done."""


def main() -> None:
    """Run the one program that standard input describes, and print its outcome as JSON."""
    room.die_with_parent()  # whoever asked may be killed
    job = json.loads(os.fdopen(0, "rb", closefd=False).read())
    # Extensions whose libraries lie outside of the folders that the room shows.
    for name in ("_bz2", "_ctypes", "_decimal", "_hashlib", "_lzma", "pyexpat", "zlib"):
        with contextlib.suppress(ImportError):
            __import__(name)
    sys.path[:] = job["path"]
    sys.path_importer_cache.clear()
    sys.argv[:] = [""]
    os.environ.clear()
    os.umask(0o022)  # what is made here must be found by nobody
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    # Where memory runs short all the same, the kernel is to take a program's.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    if job["namespaces"]:
        _in_a_room(job)
    os.chdir("/")
    _guard(job, threads=False)


def _in_a_room(job: Job) -> NoReturn:
    """Let a guard run the program in namespaces of its own, and end when it does."""
    is_root = os.geteuid() == 0
    (entered, enter), (mapped, map_) = os.pipe(), os.pipe()
    maker = os.fork()
    if maker == 0:
        with _reporting():
            room.enter()
            room.die_with_parent()
            os.close(map_)
            os.write(enter, b"1")
            if os.read(mapped, 1) != b"1":
                os._exit(1)  # the reason is written already
            guard = os.fork()
            if guard == 0:
                room.die_with_parent()
                room.furnish(job["visible"], job["hidden"], job["disk"], job["files"])
                # The kernel does not count root's threads, whatever root is called in the room.
                _guard(job, threads=not (is_root and os.geteuid() == room.NOBODY))
            os.waitpid(guard, 0)
            os._exit(0)
    os.close(enter)
    with _reporting():
        if os.read(entered, 1) == b"1":
            room.map_users(maker)
            os.write(map_, b"1")
        os.close(map_)
        os.waitpid(maker, 0)
    os._exit(0)


@contextlib.contextmanager
def _reporting() -> Iterator[None]:
    """Say on standard error what went wrong in making the room: that is no outcome."""
    try:
        yield
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)


def _guard(job: Job, threads: bool) -> NoReturn:
    """Start worker and judge, wait no longer than is allowed, print the outcome and end.

    A program may start threads only where their number has a limit.
    """
    with _reporting():
        (asked, ask), (answered, answer), (judged, say) = os.pipe(), os.pipe(), os.pipe()
        worker = _start(_work, job, (asked, answer, job["program"]), threads)
        judge = _start(_judge, job, (ask, answered, say, job["tests"]), threads)
        for descriptor in (asked, ask, answered, answer, say):
            os.close(descriptor)
        word = _wait(judged, job["seconds"])
        for process in (worker, judge):
            os.kill(process, signal.SIGKILL)
        _, status, usage = os.wait4(worker, 0)
        os.waitpid(judge, 0)
        if word in (ENDED, CRASHED):
            word = _how_it_ended(status, usage.ru_utime + usage.ru_stime, job["seconds"])
        if word is not None:
            os.write(1, json.dumps({"outcome": word}).encode())
    os._exit(0)


def _wait(judged: int, limit: float) -> str | None:
    """Return the outcome; None if the program never began."""
    has_begun, data = False, b""
    deadline = time.monotonic() + START_SECONDS
    while True:
        ready, _, _ = select.select([judged], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return TIMED_OUT if has_begun else None
        part = os.read(judged, 4096)
        data += part
        words = data.decode().split("\n")[:-1]
        if len(words) > 1:
            return words[1]
        if words and not has_begun:
            has_begun, deadline = True, time.monotonic() + limit
        if not part:
            return CRASHED if has_begun else None


def _how_it_ended(status: int, cpu_seconds: float, limit: float) -> str:
    """Return the outcome where a worker answers no more."""
    signal_number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if signal_number == signal.SIGXCPU or (
        signal_number == signal.SIGKILL and cpu_seconds >= 0.9 * limit
    ):
        return TIMED_OUT
    # Killed by the guard, it had closed its answers and stayed.
    return ENDED if signal_number in (0, signal.SIGKILL) else CRASHED


def _start(role: Callable[[Job], None], job: Job, descriptors: Sequence[int], threads: bool) -> int:
    """Fork a process with its limits and no rights; return its number.

    Its descriptors are 3 and those that follow. 0 and 1 are the null device. 2 is too, once the
    process can do nothing but compute.
    """
    guard = os.getpid()
    child = os.fork()
    if child:
        return child
    with _reporting():
        moved = [fcntl.fcntl(own, fcntl.F_DUPFD, 64) for own in descriptors]
        for place, own in enumerate(moved, start=3):
            os.dup2(own, place)
        os.closerange(3 + len(moved), 1 << 20)
        os.dup2(0, 1)
        os.setsid()
        limits = {
            resource.RLIMIT_AS: job["memory"],
            resource.RLIMIT_CPU: math.ceil(job["seconds"]) + 1,
            resource.RLIMIT_FSIZE: job["disk"],
            resource.RLIMIT_NOFILE: OPEN_FILES,
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_MEMLOCK: 0,
            resource.RLIMIT_MSGQUEUE: 0,
            resource.RLIMIT_SIGPENDING: 64,
        }
        if job["namespaces"]:  # else those of the same user elsewhere would count, too
            limits[resource.RLIMIT_NPROC] = job["threads"]
        for kind, value in limits.items():
            hard = resource.getrlimit(kind)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            # A second before it may compute no more, a signal tells it to end.
            soft = max(1, value - 1) if kind == resource.RLIMIT_CPU else value
            resource.setrlimit(kind, (soft, value))
        room.give_up_rights(as_nobody=job["namespaces"])
        room.die_with_parent(is_opaque=True)
        if os.getppid() != guard:
            os._exit(1)
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        calls.install(may_write=job["namespaces"], may_start_threads=threads)
        os.dup2(0, 2)
        role(job)
    os._exit(0)


def _read(text: int) -> str:
    """Return the text of a descriptor, and close it."""
    with os.fdopen(text, "rb") as file:
        return file.read().decode(errors="replace")


def _work(job: Job) -> None:
    """Run the program, and call its function as often as it is asked to."""
    asked, answers = 3, 4
    # Some of the library looks for the module of a class, `dataclasses` for one.
    module = sys.modules["candidate"] = types.ModuleType("candidate")
    namespace = vars(module)
    random.seed(0)  # a program that draws, too, draws the same in every run
    plain.send(answers, {"begun": True})

    def attempt(action: Callable[[], Any]) -> None:
        try:
            plain.send(answers, {"value": plain.encode(action())})
        except plain.EndedError:
            raise
        except BaseException as error:
            plain.send(answers, {"raised": type(error).__name__})

    def load() -> bool:
        exec(compile(_read(5), "candidate.py", "exec", dont_inherit=True), namespace)
        if not callable(namespace[job["entry_point"]]):
            raise TypeError("its name is no function's")
        return True

    def answer(call: Mapping[str, Any]) -> Any:
        arguments, named = plain.decode(call["arguments"]), plain.decode(call["named"])
        return namespace[job["entry_point"]](*arguments, **named)

    attempt(load)
    with contextlib.suppress(plain.EndedError):
        while True:
            call = plain.receive(asked, job["longest"])
            attempt(functools.partial(answer, call))


def _judge(job: Job) -> None:
    """Run the tests on the answers of the worker, and say the outcome."""
    asks, answered, says = 3, 4, 5
    given = json.loads(_read(6))

    def take() -> Any:
        try:
            answer = plain.receive(answered, job["longest"])
            if answer.get("raised") == "MemoryError":
                raise _Verdict(OUT_OF_MEMORY)
            if "value" not in answer:
                raise CandidateError(str(answer.get("raised"))[:100])
            return plain.decode(answer["value"])
        except plain.NotPlainError as error:
            raise CandidateError(str(error)[:100]) from None
        except plain.TooLongError:
            raise _Verdict(TOO_LONG) from None
        except plain.EndedError:
            raise _Verdict(ENDED) from None

    def candidate(*arguments: Any, **named: Any) -> Any:
        call = {"arguments": plain.encode(arguments), "named": plain.encode(named)}
        try:
            plain.send(asks, call)
        except plain.EndedError:
            raise _Verdict(ENDED) from None
        return take()

    random.seed(0)  # tests that draw their cases draw the same ones in every run
    namespace: dict[str, Any] = {"__name__": "tests"}
    exec(compile(given["before"], "before.py", "exec", dont_inherit=True), namespace)
    namespace[job["entry_point"]] = candidate
    tests = compile(given["tests"], "tests.py", "exec", dont_inherit=True)
    if plain.receive(answered, job["longest"]) != {"begun": True}:
        return
    os.write(says, b"begun\n")
    try:
        take()
        exec(tests, namespace)
        outcome = PASSED
    except _Verdict as verdict:
        outcome = str(verdict)
    except MemoryError:
        outcome = OUT_OF_MEMORY
    except BaseException:
        outcome = FAILED
    os.write(says, f"{outcome}\n".encode())
