import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lowrank.base import cli
from lowrank.base.errors import LowrankError, about
from tqdm import tqdm

SCRIPT = """
import time
from lowrank.base import cli

def main():
    print("running", flush=True)
    time.sleep(60)

cli.run(main)
"""


def start(**variables):
    environment = {k: v for k, v in os.environ.items() if k != "SLURM_JOB_ID"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        env=environment | {"PYTHONPATH": "workflow"} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_job_ends_with_its_run():
    run = subprocess.Popen(["sleep", "60"])
    job, elsewhere = start(LOWRANK_RUN=str(run.pid)), start(LOWRANK_RUN="1", SLURM_JOB_ID="1")
    assert job.stdout.readline() == elsewhere.stdout.readline() == "running\n"
    run.kill()
    run.wait()
    job.communicate(timeout=20)
    assert job.returncode == -9
    late = start(LOWRANK_RUN=str(run.pid))
    assert late.communicate(timeout=20)[1] == "error: the run that this job belongs to has ended\n"
    assert elsewhere.poll() is None
    elsewhere.kill()
    elsewhere.communicate()


def test_an_error_begins_a_line_of_its_own(capsys):
    """Whatever bar a library has left open when the error came, at whatever depth."""

    def work():
        bar = tqdm(total=3, desc="Working")
        bar.update(1)
        raise LowrankError("cause")

    def main():
        try:
            work()
        except LowrankError:
            raise LowrankError("nothing works") from None

    with pytest.raises(SystemExit):
        cli.run(main)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "error: nothing works" and "Working" in lines[-2]


FAULT = """
from lowrank.base import cli

def main():
    {"a": 1}["b"]

cli.run(main)
"""


def test_an_error_that_nobody_foresaw_is_one_line_and_its_traceback_is_kept(tmp_path):
    script, log = tmp_path / "draw.py", tmp_path / "draw" / "m.6.log"
    script.write_text(FAULT)
    log.parent.mkdir()
    asked = tmp_path / "asked.parquet"
    asked.touch()
    kept = log.with_name("m.6.traceback")
    command = [sys.executable, script, "--questions", str(asked), "--output", "nowhere"]
    with open(log, "w") as stream:
        environment = os.environ | {"PYTHONPATH": "workflow"}
        assert subprocess.run(command, env=environment, stderr=stream).returncode == 1
    assert log.read_text() == (
        f"error: draw of {asked}: KeyError: 'b'; see whether these are what they should be, and if "
        f"they are, report the traceback in {kept}\n"
    )
    assert '{"a": 1}["b"]' in kept.read_text() and kept.read_text().endswith("KeyError: 'b'\n")
    script.write_text("from lowrank.base import cli\ncli.run(print)")
    with open(log, "w") as stream:
        assert subprocess.run(command, env=environment, stderr=stream).returncode == 0
    assert not kept.exists()


def test_without_a_log_the_traceback_is_in_a_file_that_the_line_names(capsys):
    def main():
        with about("benchmark toy"), about("its row 3"):
            raise ValueError("two\nlines")

    with pytest.raises(SystemExit):
        cli.run(main, "prepare", [])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: prepare of its row 3, benchmark toy: ValueError: two lines; see")
    kept = Path(re.search(r"the traceback in (\S+)$", line)[1])
    assert "raise ValueError" in kept.read_text()
    kept.unlink()


def test_what_says_by_itself_what_to_do_is_left_as_it_is(capsys):
    def main():
        with about("benchmark toy"):
            raise LowrankError("ask fewer")

    with pytest.raises(SystemExit):
        cli.run(main)
    assert capsys.readouterr().err == "error: ask fewer\n"


@pytest.mark.parametrize("path", sorted(Path("workflow/scripts").glob("*.py")), ids=str)
def test_every_script_does_its_work_under_the_net(path):
    """All that a script does when it is run is one call of `cli.run`."""
    *others, last = ast.parse(path.read_text()).body
    assert ast.unparse(last).startswith("if __name__ == '__main__':\n    cli.run(")
    assert len(last.body) == 1 and not last.orelse
    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.Assign, ast.AnnAssign, ast.Expr)
    assert all(isinstance(statement, allowed) for statement in others)
