"""What the doctor says of machines that lack this or that."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from lowrank import doctor
from lowrank.doctor import BROKEN, LACKING, OK

WHEEL = {"sources": [{"wheel": "a==1"}]}
MIRRORED = {"sources": [{"mirror": "questions.parquet"}]}


def test_pins_are_what_is_installed(tmp_path):
    import pytest as installed

    lock = tmp_path / "lock"
    lock.write_text(f"# a comment\npytest=={installed.__version__}\n")
    assert doctor._pins(lock).state == OK
    lock.write_text("pytest==0.1\nno-such-package==1.0\n")
    finding = doctor._pins(lock)
    assert finding.state == BROKEN
    assert "2 differ (pytest" in finding.says
    assert "make" in finding.remedy


@pytest.mark.parametrize(("free", "state"), [(7e9, BROKEN), (9e9, OK)])
def test_disk(monkeypatch, free, state):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    assert doctor._disk().state == state


def test_no_slurm(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert doctor._slurm().state == LACKING


@pytest.mark.parametrize(
    ("script", "state", "says"),
    [
        ("echo 'gpu*'; echo cpu", OK, "gpu*, cpu"),
        ("echo 'no controller' >&2; exit 1", LACKING, "no controller"),
        ("sleep 30", LACKING, "does not answer"),
    ],
)
def test_slurm_answers_fails_or_hangs(monkeypatch, tmp_path, script, state, says):
    for name in ("sbatch", "sinfo"):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(doctor, "SECONDS", 0.5)
    finding = doctor._slurm()
    assert finding.state == state
    assert says in finding.says


def test_a_hub_that_answers_and_one_that_does_not(monkeypatch):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert doctor._hub().state == OK
    assert doctor._hub().state == LACKING


def test_a_token_is_never_printed(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    finding = doctor._token()
    assert finding.state == OK
    assert "hf_secret" not in str(finding)


def test_benchmarks_without_a_source_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("LOWRANK_MIRROR", str(tmp_path))
    finding = doctor._benchmarks({"one": WHEEL, "two": MIRRORED})
    assert finding.state == LACKING
    assert "not two" in finding.says
    (tmp_path / "questions.parquet").touch()
    assert doctor._benchmarks({"one": WHEEL, "two": MIRRORED}).state == OK
    assert doctor._benchmarks({"three": {"sources": []}}).state == BROKEN


def test_a_mirror_that_is_no_directory_is_a_problem(monkeypatch, tmp_path):
    monkeypatch.setenv("LOWRANK_MIRROR", str(tmp_path / "missing"))
    assert doctor._mirror().state == BROKEN


def test_the_command_ends_with_one_line_a_check():
    done = subprocess.run(
        [sys.executable, "workflow/scripts/doctor.py", "--config", "config/laptop.yaml"],
        env=os.environ | {"PYTHONPATH": "workflow"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 10
    assert all(line.split()[0] in (OK, LACKING, BROKEN) for line in lines)
    assert done.returncode == any(line.split()[0] == BROKEN for line in lines), done.stderr
    assert Path("requirements.lock").name in done.stdout
