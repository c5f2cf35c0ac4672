import os
import subprocess
import sys

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
