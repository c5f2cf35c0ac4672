"""The bar and the plain lines of `--logger=progress`, from its events and from real runs."""

import io
import logging
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from lowrank.base.files import read_json
from lowrank.claims.comparison import record_run
from lowrank.running.progress import Progress
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_logger_plugin_progress import Lines, LogHandler

SNAKEFILE = """
rule all:
    input: expand("made/{number}", number=range(int(config["count"])))


rule evaluate:
    output: touch("made/{number}")
    log: "logs/evaluate/{number}.log"
    params: is_broken=lambda wildcards: wildcards.number == str(config["broken"])
    shell: "sleep {config[pause]}; if [ {params.is_broken} = True ]; then "
        "seq -f 'line %g' 60 > {log}; echo 'error: no weights' >> {log}; exit 1; fi"
"""


def event(kind, message="", level=logging.INFO, at=0.0, **fields):
    """An event as Snakemake sends it."""
    made = logging.makeLogRecord({"msg": message, "levelno": level, "event": kind} | fields)
    made.created = at
    return made


@pytest.fixture
def handler(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    settings = SimpleNamespace(dryrun=False, stdout=False, nocolor=True, show_failed_logs=True)
    made = LogHandler(settings, None)
    yield made
    made.close()


def said(shown):
    """Return what was printed since the last call."""
    text = shown.stream.getvalue()
    shown.stream.seek(0)
    shown.stream.truncate()
    return text


def started(job, at=0.0):
    fields = {"rule_name": "evaluate", "wildcards": {"model": "m", "benchmark": f"b{job}"}}
    return event(LogEvent.JOB_INFO, jobid=job, threads=1, at=at, **fields)


def failed(job, log, rule_msg=None):
    fields = {"rule_name": "evaluate", "log": [str(log)], "rule_msg": rule_msg}
    return event(LogEvent.JOB_ERROR, "Error in rule", logging.ERROR, jobid=job, **fields)


def died(end):
    message = (
        'RuleException:\nCalledProcessError in file "/x/workflow/rules/evaluate.smk", line 34:\n'
        f"Command 'set -euo pipefail;  python x\n --y' {end}."
    )
    return event(LogEvent.ERROR, message, logging.ERROR, exception="RuleException")


def test_a_failed_job_is_named_at_once_with_the_end_of_its_log(handler, tmp_path):
    log = tmp_path / "b1.log"
    log.write_text("".join(f"line {number}\n" for number in range(60)) + "error: no weights\n")
    handler.handle(event(LogEvent.RUN_INFO, stats={"evaluate": 2, "total": 2}))
    handler.handle(started(1))
    said(handler.display)
    handler.handle(died("returned non-zero exit status 1"))
    handler.handle(failed(1, log))
    lines = said(handler.display).splitlines()
    assert lines[:2] == ["failed: evaluate (model=m, benchmark=b1)", f"  log: {log}"]
    assert lines[2:4] == ["  | (11 lines before these)", "  | line 11"]
    assert lines[-1] == "  | error: no weights"
    handler.handle(event(None, "Complete log(s): /x/run.log"))
    handler.close()
    end = said(handler.display).splitlines()
    assert re.sub(r"\d+:\d\d:\d\d", "-", end[0]) == (
        "failed: 1 of 2 jobs; 0 are done and 1 not begun, after -"
    )
    assert end[1:] == [
        f"  evaluate (model=m, benchmark=b1): {log}",
        "  all that Snakemake logged: /x/run.log",
    ]


def test_why_a_job_failed_without_a_word_of_its_own_is_said(handler, tmp_path):
    handler.handle(event(LogEvent.RUN_INFO, stats={"evaluate": 2, "total": 2}))
    handler.handle(started(1))
    handler.handle(died("died with <Signals.SIGKILL: 9>"))
    handler.handle(failed(1, tmp_path / "never.log", "SLURM status is: TIMEOUT"))
    text = said(handler.display)
    assert "evaluate.smk, line 34: the command of a job died with <Signals.SIGKILL: 9>\n" in text
    assert "python x" not in text
    assert "\n  SLURM status is: TIMEOUT\n" in text
    assert "(it was not written)" in text


def test_warnings_and_errors_are_printed_and_chatter_is_not(handler):
    for message in ("Select jobs to execute...", "Using shell: /bin/bash", "Elapsed time: 0:00:09"):
        handler.handle(event(None, message))
    handler.handle(event(None, "Left out for want of a source: gsm8k", logging.WARNING))
    handler.handle(event(None, "Nothing to be done (all requested files are present)."))
    handler.handle(event(LogEvent.ERROR, "MissingInputException in rule x", logging.ERROR))
    handler.handle(event(None, "Exiting because a job execution failed. Look", logging.ERROR))
    handler.close()
    assert said(handler.display).splitlines() == [
        "Left out for want of a source: gsm8k",
        "Nothing to be done (all requested files are present).",
        "MissingInputException in rule x",
    ]


def test_jobs_that_an_interrupt_ends_have_not_failed(handler, tmp_path):
    handler.handle(event(LogEvent.RUN_INFO, stats={"evaluate": 2, "total": 2}))
    handler.handle(started(1))
    handler.handle(died("died with <Signals.SIGINT: 2>"))
    handler.handle(failed(1, tmp_path / "x.log"))
    handler.handle(event(None, "Terminating processes on user request, this might take time."))
    handler.close()
    text = said(handler.display)
    assert "failed" not in text
    assert "stopped: 0 of 2 jobs are done, after" in text


def test_a_log_of_a_long_run_is_short():
    """The CI's run has some 256 jobs, several at once, in ten minutes."""
    stages = {"fetch": "fetch", "decompose": "decompose", "evaluate": "evaluate", "draw": "figures"}
    progress = Progress({"fetch": 6, "decompose": 40, "evaluate": 190, "draw": 20}, stages, now=0)
    rules = ["fetch"] * 6 + ["decompose"] * 40 + ["evaluate"] * 190 + ["draw"] * 20
    seconds = {"fetch": 1, "decompose": 1, "evaluate": 3, "draw": 0.5}
    lines, now = Lines(io.StringIO()), 0.0
    for job, rule in enumerate(rules):
        progress.start(job, rule, 1, now)
        for _ in range(int(2 * seconds[rule])):
            lines.show(progress, now, progress.seconds_left(now))
            now += 0.5
        progress.finish(job, now)
    text = said(lines).splitlines()
    assert 20 <= len(text) <= 40
    assert text[0] == "0:00:00    0%  0 of 256 jobs  estimating  fetch"
    assert text[-1].startswith("0:10:")
    assert re.fullmatch(
        r"0:05:\d\d   \d\d%  1\d\d of 256 jobs  about [456] min left  evaluate",
        next(line for line in text if line.startswith("0:05:")),
    )


def test_nothing_is_written_while_nothing_happens():
    progress, lines = Progress({"evaluate": 2}, {}, now=0), Lines(io.StringIO())
    progress.start(0, "evaluate", 1, 0)
    for tick in range(119):
        lines.show(progress, tick / 2, None)
    assert len(said(lines).splitlines()) == 1
    lines.show(progress, 60, None)
    assert said(lines) == "0:01:00    0%  0 of 2 jobs  estimating  evaluate\n"


def command(count, broken="none", pause="0.2"):
    settings = [f"count={count}", f"broken={broken}", f"pause={pause}"]
    flags = ["--logger=progress", "--keep-going", "--show-failed-logs", "--config", *settings]
    if broken != "none":  # first, so that there is a bar after it
        flags += ["--prioritize", f"made/{broken}"]
    return [sys.executable, "-m", "snakemake", "--cores", "2", *flags]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    return tmp_path


ENVIRONMENT = os.environ | {
    "PYTHONPATH": str(Path(__file__).parents[2] / "workflow"),
    "TERM": "xterm",
    "COLUMNS": "100",
}


def test_a_run_without_a_terminal_and_what_its_log_still_holds(folder):
    def run(*arguments):
        done = subprocess.run(
            command(*arguments), cwd=folder, env=ENVIRONMENT, capture_output=True, text=True
        )
        assert "\x1b" not in done.stdout + done.stderr
        return done.returncode, done.stderr.splitlines()

    code, lines = run(4, "2")
    assert code == 1
    assert lines[0] == "jobs to do: 5 (evaluate 4, all 1)"
    at = lines.index("failed: evaluate (number=2)")
    assert lines[at + 1] == "  log: logs/evaluate/2.log"
    assert "  | error: no weights" in lines
    assert lines[-3].startswith("failed: 1 of 5 jobs; 3 are done and 1 not begun, after 0:00:")
    code, lines = run(6)
    assert code == 0
    assert re.fullmatch(r"jobs done: 4 in 0:00:\d\d \(evaluate 3, all 1\)", lines[-1])
    assert run(6) == (0, ["Nothing to be done (all requested files are present and up to date)."])

    whole = folder / "run.json"
    logs = folder / ".snakemake/log"
    record_run(logs, {}, {"environment": folder / "made"}, {"cores": 2}, whole)
    assert read_json(whole)["runs"]["paper"]["jobs"] == 4
    assert read_json(whole)["runs"]["paper"]["cores"] == 2
    first = sorted(logs.glob("*.log"))[0].read_text()
    assert "Error in rule evaluate:" in first
    assert "line 1\n" in first


def in_terminal(folder, arguments, until=None):
    """Run in a pseudo-terminal; send an interrupt once `until` is seen. Return what it got."""
    child, terminal = pty.fork()
    if not child:
        os.chdir(folder)
        os.execvpe(sys.executable, command(*arguments), ENVIRONMENT)
    got = b""
    while True:
        try:
            got += os.read(terminal, 65536)
        except OSError:
            break
        if until and until in got:
            os.write(terminal, b"\x03")
            until = None
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(terminal)
    return code, got.decode()


def test_a_terminal_shows_one_live_bar_and_is_given_back(folder):
    code, got = in_terminal(folder, (8, "2", "0.4"))
    assert code == 1
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", got)
    assert "planning the jobs" in text
    bar = (
        r"(waiting|evaluate) +[━╸╺]+ +\d+% (\d)/9 +(?:1 failed +)?\d:\d\d:\d\d (?:estimating|about)"
    )
    bars = re.findall(bar, text)
    assert bars[0][1] == "0"
    assert len(set(bars)) > 3
    assert "estimating" in text
    assert re.search(r"about \d+ (?:s|min) left", text)
    assert re.search(r"1 failed +\d:\d\d:\d\d (?:estimating|about)", text)
    assert "failed: evaluate (number=2)\r\n" in text
    assert "  | error: no weights" in text
    assert got.rfind("\x1b[?25h") > got.rfind("\x1b[?25l") >= 0  # the cursor is shown again
    last = text[text.rindex("failed: 1 of 9 jobs; 7 are done and 1 not begun") :]
    assert "━" not in last


def test_an_interrupt_gives_the_terminal_back(folder):
    code, got = in_terminal(folder, (200, "none", "0.3"), until=b" left")
    assert code not in (0, -signal.SIGKILL)
    assert got.rfind("\x1b[?25h") > got.rfind("\x1b[?25l") >= 0
    assert re.search(r"stopped: \d+ of 201 jobs are done, after 0:00:\d\d\r\n", got)
    assert "failed:" not in got
