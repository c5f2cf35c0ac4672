import os
import subprocess
import sys

import pytest
from lowrank.base import cli
from lowrank.base.errors import LowrankError
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
