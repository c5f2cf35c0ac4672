"""Killed again and again, at random moments: the end result is that of an undisturbed run."""

import base64
import os
import random
import signal
import time
from pathlib import Path

import pytest
from conftest import make_workflow

COMPARED = ("results/models/tiny/evaluations", "results/models/tiny/compressed")
TARGET = "results/models/tiny/studies/table_4_2.csv"
KILLS = 5


def contents(folder: Path) -> dict[str, bytes]:
    """What an undisturbed run always makes alike: no file that holds times."""
    files = [path for part in COMPARED for path in sorted((folder / part).rglob("*"))]
    files += sorted((folder / "results/models/tiny/studies").glob("table_4_2.csv"))
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if path.is_file() and not path.name.endswith(".time.tsv")
    }


def jobs_of(session: int, name: str) -> list[int]:
    """Processes of a session whose command line names a script."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if name in command and os.getsid(int(entry.name)) == session:
                found.append(int(entry.name))
        except (OSError, ProcessLookupError):
            continue
    return found


def write_half(folder: Path) -> int:
    """Leave half an output wherever a job had begun, as a power cut may; return how many."""
    marks = list((folder / ".snakemake" / "incomplete").glob("**/*"))
    count = 0
    for mark in marks:
        if not mark.is_file():
            continue
        name = base64.b64decode(mark.relative_to(folder / ".snakemake/incomplete").as_posix())
        path = folder / name.decode()
        if path.suffix in (".json", ".csv", ".jsonl") and path.parent.exists():
            path.write_text('{"half')
            count += 1
    return count


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_moments(finished, tmp_path, seed):
    generator = random.Random(seed)
    made = make_workflow(tmp_path / "killed")
    halves = 0
    for _ in range(KILLS):
        run = made.start("--nolock", TARGET)
        time.sleep(generator.uniform(3, 9))  # planning takes the first three seconds
        over = run.poll() is not None
        made.kill(run)
        halves += write_half(made.folder)
        if over:
            break
    made.run("--unlock")
    made.run(TARGET)
    assert made.jobs(TARGET) == {}
    undisturbed = contents(finished.folder)
    assert len(undisturbed) > 20
    assert contents(made.folder) == undisturbed


def test_one_job_killed_fails_alone_and_is_done_by_the_next_run(finished, tmp_path):
    made = make_workflow(tmp_path / "killed")
    run = made.start(TARGET)
    killed = []
    deadline = time.monotonic() + 120
    while not killed and time.monotonic() < deadline and run.poll() is None:
        for process in jobs_of(run.pid, "evaluate.py"):
            os.kill(process, signal.SIGKILL)
            killed.append(process)
            break
        time.sleep(0.01)
    assert killed
    assert run.wait(timeout=120) != 0
    made.run(TARGET)
    assert contents(made.folder) == contents(finished.folder)
