"""The tiny workflow, run once, and fresh copies of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from copied_workflow import PARTS, Workflow, make_workflow
from lowrank.base.files import exclusive_lock
from workflow_copy import check_out


def run_once(shared: Path) -> Path:
    """Return the folder of the tiny workflow after a full run, which the first caller does."""
    folder, done = shared / "finished", shared / "done"
    with exclusive_lock(shared / "lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a run that failed
            make_workflow(folder).run()
            done.touch()
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Workflow:
    """The tiny workflow after a full run; not to be changed by a test.

    Processes that test side by side share one run. Each has a copy, since Snakemake locks a folder.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = run_once(shared / "tiny")
    copy = tmp_path_factory.mktemp("workflow") / "finished"
    return Workflow(Path(shutil.copytree(folder, copy)))  # keeps times


@pytest.fixture
def workflow(finished, tmp_path) -> Workflow:
    """A copy of the finished run, in a fresh checkout: sources are newer than every result."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for name in PARTS:
        if (finished.folder / name).exists():
            shutil.copytree(finished.folder / name, folder / name)  # keeps times, as an archive
    check_out(finished.folder, folder)
    return Workflow(folder)
