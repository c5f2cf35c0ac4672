"""The workflow's own functions on fake devices: what is asked for is leased, or refused at once."""

import json
import subprocess

import pytest
from copied_workflow import make_workflow

RULES = """
configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/running.smk"


rule all:
    input:
        expand("device{n}.json", n=range(4)),


rule evaluate:
    output:
        "device{n}.json",
    resources:
        gpu=gpus,
    shell:
        "PYTHONPATH=workflow python use.py {output} {resources.gpu}"
"""

USE = """
import json, sys, time
from pathlib import Path
from lowrank.running.devices import lease

with lease("cuda", int(sys.argv[2]), poll_seconds=0.05) as held:
    begin = time.time()
    time.sleep(3)
Path(sys.argv[1]).write_text(json.dumps({"held": held, "begin": begin, "end": time.time()}))
"""


@pytest.fixture
def folder(tmp_path):
    made = make_workflow(tmp_path / "gpus")
    made.edit_yaml("config/config.yaml", lambda config: config.update(device="cuda"))
    (made.folder / "Snakefile").write_text(RULES)
    (made.folder / "use.py").write_text(USE)
    return made


def run(made, tmp_path, *arguments, devices="0,1,2,3", **variables):
    environment = made.environment | {"LOWRANK_LEASES": str(tmp_path)} | variables
    environment |= {"CUDA_VISIBLE_DEVICES": devices}
    command = [*made.command(), "--cores", "4", *arguments]
    return subprocess.run(
        command, cwd=made.folder, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("variables", [{}, {"SLURM_JOB_ID": "7"}], ids=["machine", "allocation"])
def test_jobs_side_by_side_have_devices_of_their_own(folder, tmp_path, variables):
    done = run(folder, tmp_path, "--resources", "gpu=4", **variables)
    assert done.returncode == 0, done.stderr
    uses = [json.loads((folder.folder / f"device{n}.json").read_text()) for n in range(4)]
    together = [
        (a, b)
        for index, a in enumerate(uses)
        for b in uses[:index]
        if a["begin"] < b["end"] and b["begin"] < a["end"]
    ]
    assert together
    assert all(set(a["held"]).isdisjoint(b["held"]) for a, b in together)


def test_a_job_of_two_gpus_leases_two(folder, tmp_path):
    done = run(folder, tmp_path, "--resources", "gpu=4", "--set-resources", "evaluate:gpu=2")
    assert done.returncode == 0, done.stderr
    uses = [json.loads((folder.folder / f"device{n}.json").read_text()) for n in range(4)]
    assert all(len(use["held"]) == 2 for use in uses)


@pytest.mark.parametrize(
    ("devices", "arguments", "message"),
    [
        ("0,1", ("--resources", "gpu=4"), "gpu=4` allows more GPUs than the 2"),
        (
            "0,1",
            ("--resources", "gpu=1", "--set-resources", "evaluate:gpu=2"),
            "a job of rule evaluate asks for 2 GPU(s), but `--resources gpu=1` allows 1",
        ),
        ("0,1", ("--set-resources", "evaluate:gpu=3"), "asks for 3 GPUs, but 2 can be used here"),
        ("", (), "no GPU can be used here"),
    ],
)
def test_more_than_there_is_stops_the_run_before_any_job(
    folder, tmp_path, devices, arguments, message
):
    done = run(folder, tmp_path, *arguments, devices=devices)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and message in lines[0], done.stderr
    assert "Traceback" not in done.stderr
    assert not list(folder.folder.glob("device*.json"))
    assert not (tmp_path / "lowrank-gpu-leases").exists()
