"""Run programs that a model wrote against their tests: nothing that they do reaches this machine.

`lowrank.sandbox.inside` says who does what in a run, `lowrank.sandbox.room` what a program sees,
and `lowrank.sandbox.calls` what it may ask of the kernel.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lowrank.base.errors import LowrankError, one_line
from lowrank.sandbox import calls
from lowrank.sandbox.inside import START_SECONDS
from lowrank.sandbox.outcomes import OUTCOMES, PASSED

__all__ = ["LIMITED", "ROOM", "Limits", "Program", "run_program", "run_programs", "sandbox_kind"]

ROOM = "namespaces"
"""A program sees a room of its own."""

LIMITED = "limits"
"""A program sees the files of whoever started it. Its resources are limited, and so are its calls
of the kernel: `lowrank.sandbox.calls`, but for those that change files."""

MEBIBYTE = 1 << 20

_SPARE_SECONDS = 20.0


@dataclass(frozen=True)
class Program:
    """A program with its tests.

    Attributes
    ----------
    text
        The program, as a model wrote it.
    entry_point
        The function that is tested.
    tests
        What is run beside it, in another process, with the function in the name `entry_point`. They
        are trusted. They hold if they end without an error.
    before
        What is run before the tests, likewise trusted: what they call beside the function.
    """

    text: str
    entry_point: str
    tests: str
    before: str = ""


@dataclass(frozen=True)
class Limits:
    """What a program may take.

    Attributes
    ----------
    seconds
        Of time, from where it begins, and of computing.
    memory_mib
        Of address space, all threads together; as much again for its tests.
    disk_mib
        Of files, which are in memory.
    files
        Number of files.
    threads
        Threads, those of the run itself among them.
    answer_mib
        Of one answer.
    """

    seconds: float = 3.0
    memory_mib: int = 512
    disk_mib: int = 16
    files: int = 256
    threads: int = 16
    answer_mib: int = 4


def run_program(program: Program, limits: Limits = Limits(), kind: str = ROOM) -> str:
    """Return what becomes of a program: one of `lowrank.sandbox.outcomes.OUTCOMES`.

    Parameters
    ----------
    program
        The program.
    limits
        What it may take.
    kind
        `ROOM`, or `LIMITED`; see `sandbox_kind`.

    Raises
    ------
    LowrankError
        If the sandbox itself could not be made: that says nothing of the program.
    """
    with contextlib.ExitStack() as stack:
        try:
            files = {
                "program": _file(program.text, stack),
                "tests": _file(
                    json.dumps({"before": program.before, "tests": program.tests}), stack
                ),
            }
            job = {
                "entry_point": program.entry_point,
                "namespaces": kind == ROOM,
                "seconds": limits.seconds,
                "memory": limits.memory_mib * MEBIBYTE,
                "disk": limits.disk_mib * MEBIBYTE,
                "longest": limits.answer_mib * MEBIBYTE,
                "files": limits.files,
                "threads": limits.threads,
                **_runtime(),
                **files,
            }
            described = _file(json.dumps(job), stack)
        except OSError as error:
            raise _failed(str(error)) from None
        return _run(described, tuple(files.values()), limits.seconds)


def _run(described: int, descriptors: tuple[int, ...], seconds: float) -> str:
    code = "import sys; sys.path.append(sys.argv[1]); from lowrank.sandbox import inside as own"
    command = [sys.executable, "-s", "-S", "-P", "-B", "-c", f"{code}; own.main()"]
    try:
        process = subprocess.Popen(
            [*command, str(Path(__file__).parents[2])],
            stdin=described,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=descriptors,
            env=_environment(),
            start_new_session=True,
        )
    except OSError as error:
        raise _failed(str(error)) from None
    try:
        output, errors = process.communicate(timeout=START_SECONDS + seconds + _SPARE_SECONDS)
        outcome = json.loads(output)["outcome"]
        if outcome in OUTCOMES:
            return outcome
        reason = "it printed no outcome"
    except subprocess.TimeoutExpired:
        reason = "it does not end"
    except (ValueError, KeyError, TypeError):
        reason = one_line(errors.decode(errors="replace")) or "it ended without a word"
    finally:
        process.kill()
        process.wait()
    raise _failed(reason)


def _environment() -> dict[str, str]:
    """Return what Python needs to start; it forgets it before a program begins."""
    libraries = os.environ.get("LD_LIBRARY_PATH")  # where some have the one of Python itself
    # Sets have one order in every run.
    return {"PYTHONHASHSEED": "0"} | ({} if libraries is None else {"LD_LIBRARY_PATH": libraries})


def _failed(reason: str) -> LowrankError:
    return LowrankError(f"the sandbox for generated programs failed: {reason[:300]}")


def run_programs(programs: Sequence[Program], limits: Limits, kind: str, at_once: int) -> list[str]:
    """Return what becomes of programs, each in a sandbox of its own, a few at a time.

    Parameters
    ----------
    programs, limits, kind
        See `run_program`.
    at_once
        How many run at the same time.

    Raises
    ------
    LowrankError
        If a sandbox could not be made.
    """
    with concurrent.futures.ThreadPoolExecutor(max(1, at_once)) as pool:
        try:
            return list(pool.map(lambda program: run_program(program, limits, kind), programs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def sandbox_kind(accept_risk: bool = False) -> str:
    """Return how programs can be run here: `ROOM`, or with `accept_risk` `LIMITED`.

    A small program is run to know it.

    Raises
    ------
    LowrankError
        If there can be no room, and the risk is not accepted or is too large: one line that says
        why, and what to do.
    """
    reason = _why_not(ROOM)
    if reason is None:
        return ROOM
    cannot = f"programs of a model cannot be run safely here: {reason}"
    if _why_not(LIMITED) is not None:
        raise LowrankError(f"{cannot}; leave the benchmark out")
    if accept_risk:
        return LIMITED
    raise LowrankError(
        f"{cannot}; allow user namespaces, or leave the benchmark out, or accept in `sandbox: "
        "{accept_risk: true}` that a program reads the files that you can read"
    )


@functools.cache
def _why_not(kind: str) -> str | None:
    """Return why programs cannot be run in a sandbox of this kind; None if they can."""
    if not sys.platform.startswith("linux") or not calls.is_supported():
        return "the sandbox is for Linux on x86-64 and aarch64"
    trial = Program(
        "from fractions import Fraction\ndef f(x):\n    return [Fraction(x)]\n",
        "f",
        "assert f(1) == [1] != f(2)",
    )
    try:
        outcome = run_program(trial, Limits(seconds=10.0), kind)
    except LowrankError as error:
        return str(error).partition(": ")[2]
    return None if outcome == PASSED else f"a trial ended with {outcome!r}"


@functools.cache
def _runtime() -> Mapping[str, Any]:
    """Return the folders of Python's own library, and those within them that hold others'."""
    library = os.path.realpath(sysconfig.get_path("stdlib"))
    extensions = os.path.realpath(
        sysconfig.get_config_var("DESTSHARED") or os.path.join(library, "lib-dynload")
    )
    visible = [library]
    if os.path.commonpath([library, extensions]) != library:
        visible.append(extensions)
    others = [Path(library, name) for name in ("site-packages", "dist-packages")]
    return {
        "visible": visible,
        "path": [library, extensions],
        # A link leads out of the room, to nothing.
        "hidden": [str(own) for own in others if own.is_dir() and not own.is_symlink()],
    }


def _file(content: str, stack: contextlib.ExitStack) -> int:
    """Return the descriptor of a file without a name, to be read from its start."""
    descriptor = os.memfd_create("sandbox")
    stack.callback(os.close, descriptor)
    data = content.encode(errors="surrogatepass")
    while data:
        data = data[os.write(descriptor, data) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def described(limits: Limits, kind: str) -> dict[str, Any]:
    """Return what a result says of the sandbox."""
    return {"kind": kind, **asdict(limits)}
