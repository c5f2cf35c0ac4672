"""What every script shares: arguments in, one clear line out on failure."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import select
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lowrank.base.errors import LowrankError, is_out_of_memory, one_line

T = TypeVar("T")


def parser(description: str | None, *names: str, **json_names: str) -> argparse.ArgumentParser:
    """Return a parser with required text options `--name`, and JSON options by keyword."""
    made = argparse.ArgumentParser(description=description)
    for name in names:
        made.add_argument(f"--{name}", required=True)
    for name, help_text in json_names.items():
        made.add_argument(f"--{name}", required=True, type=json.loads, help=help_text)
    return made


def end_with_the_run() -> None:
    """Let this process be killed when the run that asked for it is: nothing goes on unwatched.

    The variable LOWRANK_RUN holds the run's process id. Under SLURM, which ends what it started,
    the run may be on another machine.
    """
    run_id = os.environ.get("LOWRANK_RUN")
    if not run_id or "SLURM_JOB_ID" in os.environ or not hasattr(os, "pidfd_open"):
        return
    try:
        watched = os.pidfd_open(int(run_id))
    except ProcessLookupError:
        raise LowrankError("the run that this job belongs to has ended") from None
    except OSError:  # a kernel without it
        return

    def watch() -> None:
        select.select([watched], [], [])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def run(main: Callable[[], Any], step: str = "", arguments: Sequence[str] | None = None) -> None:
    """Run a script's `main`; whatever error ends it is printed as one line.

    Parameters
    ----------
    main
        The work.
    step
        What it is called; by default as the script is.
    arguments
        What it was given, among it the files that it reads; by default the command line.

    Raises
    ------
    SystemExit
        With status 1, after an error.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    warnings.filterwarnings("ignore", category=FutureWarning)

    def work() -> None:
        end_with_the_run()
        main()

    given = sys.argv[1:] if arguments is None else arguments
    under_the_net(work, step or Path(sys.argv[0]).stem, given)


def under_the_net(work: Callable[[], T], step: str, arguments: Sequence[str]) -> T:
    """Return what some work makes; whatever error ends it is printed as one line.

    A `LowrankError` says by itself what to do. Any other one is named with the step and with what
    it worked on, and its traceback is kept in a file: beside the log, where standard error is one.

    Parameters
    ----------
    work
        The work.
    step
        What it is called.
    arguments
        What it was given, among it the files that it reads.

    Raises
    ------
    SystemExit
        With status 1, after an error.
    """
    kept = _beside_the_log()
    if kept is not None:
        with contextlib.suppress(OSError):
            kept.unlink()  # an earlier try's
    try:
        return work()
    except LowrankError as error:
        said = str(error)
        _let_go(error)
    except Exception as error:
        if is_out_of_memory(error):
            reason = one_line(error)[:200] or "no more could be had"
            said = (
                f"out of memory ({reason}); ask for fewer questions at once (`batch_size`) or run "
                "fewer jobs at a time (`--cores`)"
            )
        else:
            said = _unforeseen(error, step, arguments, kept)
        _let_go(error)
    line = " ".join(said.splitlines())  # a name in it may be of several
    print(f"error: {line}", file=sys.stderr)
    raise SystemExit(1)


_MOST = 6
"""How many things the line of an error that nobody foresaw names."""


def _unforeseen(
    error: Exception, step: str, arguments: Sequence[str], traceback_file: Path | None
) -> str:
    """Keep the traceback of an error; return the line that says of what it is."""
    text = "".join(traceback.format_exception(error))
    try:
        if traceback_file is None:
            handle, name = tempfile.mkstemp(prefix=f"lowrank-{step}-", suffix=_TRACEBACK)
            os.close(handle)
            traceback_file = Path(name)
        traceback_file.write_text(text, encoding="utf-8")
        place = f"in {traceback_file}"
    except OSError:  # a disk that takes no more
        print(text, file=sys.stderr)
        place = "above"
    files = [value for value in arguments if _exists(value)]
    about = ", ".join([*getattr(error, "__notes__", ()), *files[:_MOST]]) or "its settings"
    said = f"{type(error).__name__}: {one_line(error)[:300]}"
    return (
        f"{step} of {about}: {said}; see whether these are what they should be, and if they are, "
        f"report the traceback {place}"
    )


def _exists(value: str) -> bool:
    try:
        return Path(value).exists()
    except (OSError, ValueError):  # no path at all
        return False


_TRACEBACK = ".traceback"


def _beside_the_log() -> Path | None:
    """Return the file for a traceback, where standard error is a log: that is shown whole."""
    try:
        log = Path("/proc/self/fd/2").readlink()
    except OSError:  # a system without it
        return None
    return log.with_suffix(_TRACEBACK) if log.suffix == ".log" and log.is_file() else None


def _let_go(error: BaseException | None) -> None:
    """Drop what an error's frames hold: a bar that is drawn ends its line, memory is free."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__
