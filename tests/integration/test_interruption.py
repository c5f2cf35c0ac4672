"""Killed again and again, at random moments: the end result is that of an undisturbed run."""

import base64
import os
import random
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from copied_workflow import make_workflow

COMPARED = ("results/models/tiny/evaluations", "results/models/tiny/compressed")
ANSWERS = "results/answers/tiny/*/*/*.parquet"
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


def begun(folder: Path) -> list[Path]:
    """The outputs of the jobs that Snakemake has started and not seen end."""
    marks = [mark for mark in (folder / ".snakemake/incomplete").glob("**/*") if mark.is_file()]
    names = [mark.relative_to(folder / ".snakemake/incomplete").as_posix() for mark in marks]
    return [folder / base64.urlsafe_b64decode(name).decode() for name in names]


def write_half(folder: Path) -> int:
    """Leave half an output wherever a job had begun, as a power cut may; return how many."""
    count = 0
    for path in begun(folder):
        if path.parent.exists() and not path.is_dir():
            content = path.read_bytes() if path.exists() else b'{"half": "of what it should be"}'
            path.write_bytes(content[: len(content) // 2])
            count += 1
    # A file of answers is renamed to its name when it is whole; a failing disk may still cut it.
    cut_in_half(sorted(folder.glob(ANSWERS))[::3])
    return count


def cut_in_half(paths: Iterable[Path]) -> None:
    for path in paths:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])


def wait_for(condition: Callable[[], object], seconds: float = 120) -> object:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


KINDS = (
    "results/models/tiny/factors/tucker/layer-2.safetensors",
    "results/models/tiny/requests/arc_easy.6.parquet",
    "results/models/tiny/compressed/tucker-r1-l2-all/factors.safetensors",
    "results/models/tiny/evaluations/tucker-r1-l2-all.json",
    "results/models/tiny/evaluations/tucker-r1-l2.4-all.jsonl",
    "results/models/tiny/studies/table_4_2.csv",
    "results/models/tiny/profiles/dense.json",
    "figures/tiny/figure_4_1.pdf",
    "figures/report/report.pdf",
)
"""One output of every kind that a power cut can cut in half."""


def test_outputs_of_every_kind_are_made_whole_again(finished, workflow):
    """As a power cut in jobs of every kind leaves them: marked as begun, and cut in half."""
    for name in KINDS:
        path = workflow.folder / name
        mark = base64.urlsafe_b64encode(name.encode()).decode()
        (workflow.folder / ".snakemake/incomplete" / mark).parent.mkdir(parents=True, exist_ok=True)
        (workflow.folder / ".snakemake/incomplete" / mark).touch()
        cut_in_half([path])
    answers = sorted(workflow.folder.glob(ANSWERS))
    assert answers
    cut_in_half(answers)
    assert len(begun(workflow.folder)) == len(KINDS)
    workflow.run()
    assert workflow.jobs() == {}
    assert contents(workflow.folder) == contents(finished.folder)
    for name in KINDS:
        whole = (finished.folder / name).read_bytes()
        assert len((workflow.folder / name).read_bytes()) > len(whole) * 3 // 4


def test_jobs_of_a_killed_run_end_with_it(finished, tmp_path):
    """Only Snakemake itself is killed: its jobs do not go on beside those of the next run."""
    made = make_workflow(tmp_path / "killed")
    run = made.start("--nolock", TARGET)
    wait_for(lambda: jobs_of(run.pid, "evaluate.py"))
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    wait_for(lambda: not jobs_of(run.pid, "workflow/scripts/"), 30)
    made.run("--unlock")
    made.run(TARGET)
    assert made.jobs(TARGET) == {}
    assert contents(made.folder) == contents(finished.folder)


def test_killed_at_random_moments(finished, tmp_path):
    generator = random.Random(0)
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
    assert halves > 0
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
