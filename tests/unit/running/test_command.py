"""A run of the workflow from within Python: what is called, and what becomes of a failure."""

import subprocess
import sys
from pathlib import Path

import pytest
from lowrank.base.errors import LowrankError
from lowrank.running import command
from lowrank.running.command import available_cores, run_workflow


@pytest.fixture
def guard(tmp_path, monkeypatch):
    """A guard that notes what it was to run, and ends as `status` says."""
    script = tmp_path / "guard.sh"
    script.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$PYTHONPATH" "$@" >{tmp_path}/called\nexit $STATUS\n'
    )
    script.chmod(0o755)
    monkeypatch.setattr(command, "GUARD", str(script))
    monkeypatch.setenv("STATUS", "0")
    return tmp_path


def test_the_targets_stand_before_the_configurations(guard):
    run_workflow(["a.yaml", "b.json"], "2", ["made.txt"])
    assert (guard / "called").read_text().split() == [
        *("workflow", sys.executable, "-m", "snakemake", "--cores", "2", "--logger=progress"),
        *("made.txt", "--configfile", "a.yaml", "b.json"),
    ]


def test_a_run_that_fails_is_an_error(guard, monkeypatch):
    monkeypatch.setenv("STATUS", "3")
    with pytest.raises(LowrankError, match="run again"):
        run_workflow(["a.yaml"], "all")


def test_a_configuration_that_is_not_there_is_one_line(tmp_path):
    guard, config = Path(".ci/guard.sh").absolute(), tmp_path / "a.yaml"
    config.touch()
    asked = [guard, "echo", "--configfile", config, "b.yaml", "--", "made.txt"]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: b.yaml is no file") and done.stderr.count("\n") == 1
    (tmp_path / "b.yaml").touch()
    assert subprocess.run(asked, cwd=tmp_path, capture_output=True, check=True).stdout


def test_there_is_a_core():
    assert available_cores() >= 1
