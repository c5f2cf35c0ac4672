"""What the rules of the claims ask of a project."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lowrank.project.configuration import Project
from lowrank.project.studies import Model
from lowrank.project.views.analyse import study_evaluations
from lowrank.project.views.profile import profiled_study


def judged_models(project: Project) -> dict[str, Model]:
    """Return the model that judges the claims on each family: the run's first of it."""
    made: dict[str, Model] = {}
    for model in project.models.values():
        made.setdefault(model.architecture.family.name, model)
    return made


def claim_models(project: Project, accuracy: str, efficiency: str) -> dict[str, Any]:
    """Return, for each family, its model and where the model's results are.

    Parameters
    ----------
    accuracy, efficiency
        Patterns of a study's tables, by `{model}` and `{study}`.
    """
    return {
        family: {
            "model": model.name,
            "label": model.label,
            "device_type": project.settings["device"],
            "benchmarks": {
                name: {key: entry[key] for key in ("label", "chance")}
                for name, entry in project.benchmarks.items()
            },
            "studies": {
                study: accuracy.format(model=model.name, study=study)
                for study in project.studies_of(model)
            },
            "profiles": _efficiency_tables(project, model, efficiency),
        }
        for family, model in judged_models(project).items()
    }


def claim_evidence(project: Project, accuracy: str, scores: str, efficiency: str) -> list[str]:
    """Return the files that the claims are judged on.

    Parameters
    ----------
    accuracy, efficiency
        Patterns of a study's tables, by `{model}` and `{study}`.
    scores
        The pattern of a score for each question, by `{model}`, `{decomposition}`, `{benchmark}`.
    """
    files = []
    for model in judged_models(project).values():
        for study in project.studies_of(model):
            files.append(accuracy.format(model=model.name, study=study))
            files += study_evaluations(project, study, model, scores)
        files += _efficiency_tables(project, model, efficiency)
    return files


def _efficiency_tables(project: Project, model: Model, pattern: str) -> list[str]:
    study = profiled_study(project, model)
    return [pattern.format(model=model.name, study=study)] if study else []


def documents(files: Iterable[str]) -> dict[str, list[str]]:
    """Return the PDFs among files, by the name of the figure or table."""
    made: dict[str, list[str]] = {}
    for path in map(Path, files):
        if path.suffix == ".pdf":
            made.setdefault(path.stem, []).append(str(path))
    return made
