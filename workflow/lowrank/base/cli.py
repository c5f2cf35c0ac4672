"""What every script shares: arguments in, one clear line out on failure."""

from __future__ import annotations

import argparse
import json
import logging
import os
import select
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from lowrank.base.errors import LowrankError, is_out_of_memory, one_line


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


def run(main: Callable[[], Any]) -> None:
    """Run a script's `main`; an error that the user can act on is printed as one line."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        end_with_the_run()
        main()
    except LowrankError as error:
        _let_go(error)
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        _let_go(error)
        said = one_line(error)[:200] or "no more could be had"
        print(
            f"error: out of memory ({said}); ask for fewer questions at once (`batch_size`) or run "
            "fewer jobs at a time (`--cores`)",
            file=sys.stderr,
        )
        raise SystemExit(1) from None


def _let_go(error: BaseException | None) -> None:
    """Drop what an error's frames hold: a bar that is drawn ends its line, memory is free."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__
