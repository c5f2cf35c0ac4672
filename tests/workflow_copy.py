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
    "CITATION.cff",
)


def copy_workflow(folder: Path) -> None:
    """Copy the workflow to a new folder, without what was measured on other devices.

    Each of these adds figures to any run, so what a test expects would change with what is kept.
    """
    folder.mkdir(parents=True)
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    for kept in list((folder / "paper/reference").iterdir()):
        if not (kept / "claims.json").exists():
            shutil.rmtree(kept)


def check_out(made: Path, folder: Path) -> None:
    """Copy the sources of a made workflow as a fresh checkout: all are newer than any result."""
    for name in SOURCES:
        if (made / name).is_dir():
            shutil.copytree(made / name, folder / name, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(made / name, folder / name)
