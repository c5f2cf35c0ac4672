"""A run of the workflow from within Python: what is called, and what becomes of a failure."""

import sys

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


def test_there_is_a_core():
    assert available_cores() >= 1
