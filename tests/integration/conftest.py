"""The tiny workflow, run once, and fresh copies of it."""

from __future__ import annotations

import shutil

import pytest
from copied_workflow import PARTS, Workflow, make_workflow
from workflow_copy import check_out


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Workflow:
    """The tiny workflow after a full run; not to be changed by a test."""
    made = make_workflow(tmp_path_factory.mktemp("workflow") / "finished")
    made.run()
    return made


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
