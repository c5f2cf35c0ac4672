"""What the rules of the authors' published figures ask of a project."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml
from lowrank.project.configuration import Project
from lowrank.project.studies import Model
from lowrank.project.views.tables import THESIS_BENCHMARKS

AUTHORS_STUDY = "table_4_2"
"""The study whose configurations they measured."""

FILES = ("sources.yaml", "configurations.csv", "accuracy.csv", "efficiency.csv", "dense.csv")
"""What `lowrank.base.authors` reads of their folder; it takes pandas, which no rule waits for."""


def authors_files(folder: str | Path) -> list[str]:
    """Return the files of their figures, `sources.yaml` first."""
    return [str(Path(folder, name)) for name in FILES]


def authors_model(project: Project, folder: str | Path) -> Model:
    """Return the model that they measured.

    Parameters
    ----------
    folder
        Their figures, as `lowrank.base.authors.read_published` reads them.
    """
    return project.model(_described(folder)["model"])


def authors_title(project: Project, folder: str | Path) -> str:
    """Return whose data figures show, of which model."""
    return f"The authors' data, {authors_model(project, folder).label}"


def authors_device(folder: str | Path) -> str:
    """Return what they measured on."""
    authors = _described(folder)
    return f"{authors['gpus']} × {authors['device']}"


def authors_labels(project: Project, folder: str | Path) -> dict[str, str]:
    """Return, from the names of their configurations, the labels of those that the study has."""
    model = authors_model(project, folder)
    rows = project.configurations(AUTHORS_STUDY, model)
    labels = {row.decomposition.name(model.architecture): row.label for row in rows}
    path = Path(folder, "configurations.csv")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            names = [row["configuration"] for row in csv.DictReader(file)]
    except (OSError, KeyError) as error:
        raise LowrankError(f"{path} cannot be read ({error})") from None
    return {name: labels[name] for name in names if name in labels}


def authors_benchmarks(project: Project) -> dict[str, str]:
    """Return, from the names of the thesis's benchmarks, what figures call them."""
    return {name: project.benchmark(name)["label"] for name in THESIS_BENCHMARKS}


def _described(folder: str | Path) -> dict[str, Any]:
    return read_yaml(Path(folder, "sources.yaml"))["authors"]
