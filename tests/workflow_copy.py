"""A copy of the workflow: the files that it needs, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = (
    "Snakefile",
    "workflow",
    "config",
    "paper",
    "profiles",
    "environment.yml",
    "requirements.lock",
)


def copy_workflow(folder: Path) -> None:
    """Copy the workflow to a new folder."""
    folder.mkdir(parents=True)
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
