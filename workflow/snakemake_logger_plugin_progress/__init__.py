"""Snakemake's plugin for `--logger=progress`: one live bar, or a few plain lines.

The bar shows the stage, the share done, the time gone and the time left. Without a terminal a line
is written when a stage begins, when another 5% are done and once a minute. A failed job is printed
at once, with the end of its log. Snakemake's own log file stays as it is.

Snakemake finds this package because its folder is on PYTHONPATH; without it, `snakemake` prints as
ever. The package snakemake-logger-plugin-rich (0.5.1) was tried first: it draws one bar
a rule, tells no time left, and prints nothing between the first and the last job where there is no
terminal.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from logging import ERROR, WARNING, LogRecord
from pathlib import Path
from typing import TextIO

from lowrank.running.progress import Progress, clock, stages_of, time_left
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

TICK = 0.5
"""Seconds between two looks at what is to be shown."""

PERCENT, SECONDS = 5, 60
"""A plain line is due when so much more is done, or so much more time has gone."""

LOG_LINES = 50
"""How many lines of a failed job's log are printed."""

PASSED_ON = ("Nothing to be done", "Terminating processes", "Will exit after", "Trying to restart")
"""How the messages begin that are printed though they are no warnings."""

SAID_ANYWAY = ("Exiting because a job execution failed", "At least one job did not complete")
"""What the last lines say better."""

COMMAND = re.compile(
    r'RuleException:\s*CalledProcessError in file "(?:.*/)?(.*)", line (\d+):\s*'
    r"Command '.*' ((?:returned|died).*?)\.?\s*",
    re.DOTALL,
)
"""How Snakemake says that a job's command failed, with all of the command."""


class Lines:
    """Plain lines, at a rate that suits a log."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.last = (0, 0, 0.0)

    def say(self, text: str, style: str = "") -> None:
        """Print text that stays."""
        self.stream.write(text + "\n")
        self.stream.flush()

    def plan(self) -> None:
        """Show that the jobs are being planned: nothing, here."""

    def show(self, progress: Progress, gone: float, left: float | None) -> None:
        """Show how far the run is, after `gone` seconds with `left` to come, if a line is due."""
        begun, percent, seconds = self.last
        has_new_stage = len(progress.begun) > begun
        is_further = progress.percent >= percent + PERCENT or gone >= seconds + SECONDS
        if progress.done < progress.total and (has_new_stage or is_further):
            self.last = (len(progress.begun), progress.percent, gone)
            share = f"{progress.percent:3}%  {progress.done} of {progress.total} jobs"
            failed = [f"{len(progress.failed)} failed"] if progress.failed else []
            stages = ", ".join(progress.running)
            self.say("  ".join([clock(gone), share, *failed, time_left(left), stages]).rstrip())

    def close(self) -> None:
        """Leave nothing but what was said."""


class Bar(Lines):
    """One live line at the foot of a terminal; what is said scrolls by above it."""

    def __init__(self, stream: TextIO, nocolor: bool) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__(stream)
        self.console = Console(file=stream, force_terminal=True, no_color=nocolor or None)
        self.live = Live(console=self.console, auto_refresh=False, transient=True)

    def say(self, text: str, style: str = "") -> None:
        """Print text above the line."""
        from rich.text import Text

        self.console.print(Text(text, style), soft_wrap=True)

    def plan(self) -> None:
        """Show that the jobs are being planned."""
        self.live.start()
        self.live.update("planning the jobs", refresh=True)

    def show(self, progress: Progress, gone: float, left: float | None) -> None:
        """Draw the line anew."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        failed = f"{len(progress.failed)} failed" if progress.failed else ""
        cells = [
            Text(", ".join(progress.running[:2]) or "waiting", "bold"),
            ProgressBar(total=progress.total, completed=progress.done),
            Text(f"{progress.percent}% {progress.done}/{progress.total}"),
            Text(failed, "red"),
            Text(f"{clock(gone)} {time_left(left)}"),
        ]
        line = Table.grid(padding=(0, 1), expand=True)
        line.width = self.console.width - 3  # room for the ^C that a terminal writes
        for cell in cells:
            line.add_column(no_wrap=True, ratio=1 if isinstance(cell, ProgressBar) else None)
        line.add_row(*cells)
        self.live.start()
        self.live.update(line, refresh=True)

    def close(self) -> None:
        """Take the line away and give the cursor back."""
        self.live.stop()


class LogHandler(LogHandlerBase):
    """Show the events of a run; Snakemake makes one for `--logger=progress`."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = False
    has_formatter = False
    needs_rulegraph = False

    def __post_init__(self) -> None:
        stream = sys.stdout if self.common_settings.stdout else sys.stderr
        is_live = stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
        self.display = Bar(stream, self.common_settings.nocolor) if is_live else Lines(stream)
        self.stage_of = stages_of(Path(__file__).parents[1] / "rules")
        self.progress: Progress | None = None
        self.begin = time.time()
        self.names: dict[int, str] = {}
        self.log = ""
        self.is_interrupted = self.is_closed = False

    def emit(self, record: LogRecord) -> None:
        """Take in one event. A fault in here is printed and does not end the run."""
        try:
            self._take(record)
        except Exception:
            self.handleError(record)

    def _take(self, record: LogRecord) -> None:
        event, progress, now = getattr(record, "event", None), self.progress, record.created
        if self.common_settings.dryrun or event == LogEvent.GROUP_ERROR:
            text = self.format(record)
            if text and text != "None":
                self.display.say(text)
        elif event == LogEvent.WORKFLOW_STARTED:
            self.begin = now
        elif event == LogEvent.RUN_INFO and not progress:
            counts = {rule: count for rule, count in record.stats.items() if rule != "total"}
            self.progress = Progress(counts, self.stage_of, now)
            self.display.say(f"jobs to do: {self.progress.total} ({self.progress.stages})")
            threading.Thread(target=self._tick, args=[self.progress], daemon=True).start()
        elif event == LogEvent.JOB_INFO and progress:
            wildcards = ", ".join(f"{name}={value}" for name, value in record.wildcards.items())
            self.names[record.jobid] = record.rule_name + (f" ({wildcards})" if wildcards else "")
            progress.start(record.jobid, record.rule_name, record.threads, now)
        elif event == LogEvent.JOB_FINISHED and progress:
            progress.finish(record.job_id, now)
        elif event == LogEvent.JOB_ERROR and progress and not self.is_interrupted:
            progress.fail(record.jobid, now)
            self._say_failed(record)
        elif event in (None, LogEvent.ERROR):
            self._pass_on(record.levelno, record.getMessage())

    def _say_failed(self, record: LogRecord) -> None:
        name = self.names.get(record.jobid, record.rule_name)
        self.names[record.jobid] = f"{name}: {', '.join(record.log) or 'it has no log'}"
        self.display.say(f"failed: {name}", "bold red")
        if record.rule_msg:
            self.display.say(f"  {record.rule_msg}")
        for path in record.log:
            self.display.say(f"  log: {path}")
            count = LOG_LINES if self.common_settings.show_failed_logs else 1
            self.display.say(_last_lines(path, count))

    def _pass_on(self, level: int, message: str) -> None:
        if message.startswith("Building DAG of jobs"):
            self.display.plan()
        elif message.startswith("Complete log"):
            self.log = message.partition(": ")[2]
        elif command := COMMAND.fullmatch(message):
            file, line, end = command.groups()
            self.is_interrupted |= "SIGINT" in end
            if not end.endswith("exit status 1") and not self.is_interrupted:
                self.display.say(f"{file}, line {line}: the command of a job {end}", "red")
        elif message.startswith(PASSED_ON) or level >= WARNING:
            self.is_interrupted |= message.startswith("Terminating processes")
            if not any(text in message for text in SAID_ANYWAY):
                self.display.say(message.rstrip(), "red" if level >= ERROR else "")

    def _tick(self, progress: Progress) -> None:
        while True:
            with self.lock:
                if self.is_closed:
                    return
                now = time.time()
                self.display.show(progress, now - self.begin, progress.seconds_left(now))
            time.sleep(TICK)

    def close(self) -> None:
        """Give the terminal back and say what was done; a second call does nothing."""
        with self.lock:
            if not self.is_closed:
                self.is_closed = True
                self.display.close()
                if self.progress:
                    self._sum_up(self.progress, clock(time.time() - self.begin))
        super().close()

    def _sum_up(self, progress: Progress, gone: str) -> None:
        total, done, failed = progress.total, progress.done, sorted(progress.failed)
        if done == total:
            self.display.say(f"jobs done: {total} in {gone} ({progress.stages})")
        elif self.is_interrupted or not failed:
            self.display.say(f"stopped: {done} of {total} jobs are done, after {gone}")
        else:
            rest = f"{done} are done and {total - done - len(failed)} not begun, after {gone}"
            self.display.say(f"failed: {len(failed)} of {total} jobs; {rest}", "bold red")
            lines = [*map(self.names.get, failed), f"all that Snakemake logged: {self.log}"]
            self.display.say("\n".join(f"  {line}" for line in lines))


def _last_lines(path: str, count: int) -> str:
    """Return the end of a log, indented."""
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "  (it was not written)"
    before = [f"({len(lines) - count} lines before these)"] if len(lines) > count else []
    return "\n".join(f"  | {line}" for line in before + lines[-count:]) or "  (it is empty)"
