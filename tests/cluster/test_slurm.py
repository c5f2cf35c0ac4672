"""The workflow through a real sbatch: the whole tiny DAG, GPUs, failures, cancelled jobs."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from copied_workflow import make_workflow

ROOT = Path(__file__).parents[2]
GROUPING = ("groups", "group-components")  # they name rules of the whole workflow


def quickened(folder, without=(), **changes):
    """The shipped profile with the waits of one machine instead of a cluster's."""
    path = folder / "profiles" / "slurm" / "config.yaml"
    profile = yaml.safe_load(path.read_text())
    profile |= {"latency-wait": 5, "slurm-init-seconds-before-status-checks": 2}
    profile["default-resources"] |= {"mem_mb": 1500, "runtime": 10}
    for key in ("set-resources", *without):
        profile.pop(key, None)
    path.write_text(yaml.safe_dump(profile | changes))


def start(folder, environment, *arguments):
    """Start the workflow; its jobs go through sbatch. What it prints is in `run.log`."""
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/slurm"]
    with open(folder / "run.log", "w") as log:  # a pipe that nobody reads would hold it up
        return subprocess.Popen(
            [*command, *arguments],
            cwd=folder,
            env=environment | {"LOWRANK_MIRROR": str(folder / "mirror"), "HF_HUB_OFFLINE": "1"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def finish(folder, run, check=True, seconds=900):
    """Wait for a run, or end it in time with all that it started; return what it printed."""
    try:
        run.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        raise
    output = (folder / "run.log").read_text()
    assert not check or run.returncode == 0, output
    return output


def snakemake(folder, environment, *arguments, check=True):
    return finish(folder, start(folder, environment, *arguments), check)


def in_the_queue(environment):
    """What squeue has, as (job, comment); the plugin's comment names the rule."""
    asked = ["squeue", "-h", "-t", "RUNNING", "-o", "%i %k"]
    listed = subprocess.run(asked, env=environment, capture_output=True, text=True, check=True)
    return [line.split(maxsplit=1) for line in listed.stdout.splitlines() if " " in line]


def small_workflow(folder, rules):
    """A workflow of a few rules with the shipped profile."""
    shutil.copytree(ROOT / "profiles", folder / "profiles")
    # The workflow itself finds out that this cluster keeps no accounts.
    quickened(folder, without=GROUPING, **{"slurm-status-command": "squeue"})
    (folder / "Snakefile").write_text(rules)
    return folder


def test_the_whole_workflow_goes_through_sbatch(slurm, tmp_path):
    made = make_workflow(tmp_path / "cluster")
    quickened(made.folder)
    run, cancelled = start(made.folder, slurm), []
    deadline = time.monotonic() + 900
    while not cancelled and run.poll() is None and time.monotonic() < deadline:
        for job, comment in in_the_queue(slurm):
            if "evaluate" in comment:  # one in its midst: it is tried again and resumes
                subprocess.run(["scancel", job], env=slurm, check=True)
                cancelled.append(job)
                break
        time.sleep(0.1)
    output = finish(made.folder, run)
    assert cancelled
    assert output.count("Trying to restart job") == 1
    submitted = re.findall(r"has been submitted with SLURM jobid (\d+)", output)
    jobs = int(re.findall(r"(\d+) of \d+ steps", output)[-1])
    assert 5 < len(set(submitted)) < jobs - 5  # small jobs share a submission
    compressing = re.findall(r"group_compressed\S*/(\d+)\.log", output)
    assert 0 < len(set(compressing)) <= 2
    assert made.jobs() == {}
    local = make_workflow(tmp_path / "local")
    local.run()
    ours = sorted((made.folder / "results/models/tiny/evaluations").glob("*.jsonl"))
    assert len(ours) == 4
    for path in ours:
        other = local.folder / path.relative_to(made.folder)
        assert path.read_bytes() == other.read_bytes()


GPU_RULES = """
rule all:
    input:
        expand("device{n}.json", n=range(4)),

rule use:
    output:
        "device{n}.json",
    resources:
        gpu=1,
    shell:
        "PYTHONPATH=%s python %s {output}"
"""


def test_jobs_that_run_together_have_gpus_of_their_own(slurm, tmp_path):
    """SLURM assigns the devices; a job leases what it was given."""
    script = tmp_path / "use.py"
    script.write_text("""
import json, os, sys, time
from lowrank.running.devices import lease
start = time.time()
with lease("cuda") as held:
    device = os.environ["CUDA_VISIBLE_DEVICES"]
    time.sleep(6)
made = {"device": device, "held": held, "start": start, "end": time.time()}
json.dump(made, open(sys.argv[1], "w"))
""")
    rules = GPU_RULES % (ROOT / "workflow", script)
    folder = small_workflow(tmp_path, rules)
    snakemake(folder, slurm)
    uses = [json.loads((folder / f"device{n}.json").read_text()) for n in range(4)]
    assert {use["device"] for use in uses} == {"0", "1"}
    assert all(use["held"] == [use["device"]] for use in uses)
    together = [
        (a, b)
        for index, a in enumerate(uses)
        for b in uses[:index]
        if a["start"] < b["end"] and b["start"] < a["end"]
    ]
    assert together
    assert all(a["device"] != b["device"] for a, b in together)


def test_a_job_that_fails_is_tried_again_and_reported(slurm, tmp_path):
    rules = """
rule all:
    input: "flaky", "never",
rule flaky:
    output: "flaky"
    shell: "test -e tried && touch {output} || {{ touch tried; exit 3; }}"
rule never:
    output: "never"
    log: "never.log"
    shell: "echo 'error: nothing to be done' > {log}; exit 4"
"""
    folder = small_workflow(tmp_path, rules)
    output = snakemake(folder, slurm, check=False)
    assert (folder / "flaky").exists()
    assert not (folder / "never").exists()
    assert "error: nothing to be done" in output
    assert output.count("Trying to restart job") == 2


def test_a_job_cancelled_midway_is_done_again_by_the_next_run(slurm, tmp_path):
    rules = """
rule all:
    input: "long"
rule long:
    output: "long"
    shell: "touch started; echo half > {output}; test -e quick || sleep 600; echo whole > {output}"
"""
    folder = small_workflow(tmp_path, rules)
    quickened(folder, **{"restart-times": 0})
    run = start(folder, slurm)
    deadline = time.monotonic() + 120
    while not (folder / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.5)
    for job, _ in in_the_queue(slurm):
        subprocess.run(["scancel", job], env=slurm, check=True)
    finish(folder, run, check=False, seconds=200)
    assert run.returncode != 0
    assert not (folder / "long").exists()
    (folder / "quick").touch()
    snakemake(folder, slurm)
    assert (folder / "long").read_text() == "whole\n"


@pytest.mark.parametrize("name", ["default", "slurm"])
def test_profiles_hold_options_that_snakemake_has(name):
    """A typing error in a profile would only show on a cluster."""
    from snakemake.cli import get_argument_parser

    options = {
        option.lstrip("-")
        for action in get_argument_parser()._actions
        for option in action.option_strings
    }
    profile = yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())
    assert set(profile) - {key for key in profile if key.startswith("slurm-")} <= options
