"""What the rules of the claims ask of a project."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lowrank.project.configuration import Project
from lowrank.project.studies import Model
from lowrank.project.views.analyse import study_evaluations
from lowrank.project.views.figures import Drawing
from lowrank.project.views.profile import profiled_study


def judged_models(project: Project) -> dict[str, Model]:
    """Return the model that judges the claims on each family: the run's first of it."""
    made: dict[str, Model] = {}
    for model in project.models.values():
        made.setdefault(model.architecture.family.name, model)
    return made


def claim_scopes(project: Project, output_of: Callable[[str], str]) -> list[dict[str, Any]]:
    """Return the results that judge the claims, one entry a column of the ledger.

    `lowrank.claims.scopes.load_scope` reads an entry.
    """
    run = {
        "name": "run",
        "title": "This run",
        "models": claim_models(project, output_of),
        "design_space": output_of("table_3_1.csv"),
    }
    return [run]


def claim_models(project: Project, output_of: Callable[[str], str]) -> dict[str, Any]:
    """Return, for each family, the model that judges its claims and where its results are."""
    return {
        family: {
            "model": model.name,
            "label": model.label,
            "device_type": project.settings["device"],
            "benchmarks": [entry["label"] for entry in project.benchmarks.values()],
            "studies": {
                study: output_of("collect_accuracy").format(model=model.name, study=study)
                for study in project.studies_of(model)
            },
            "profiles": _efficiency_tables(project, model, output_of),
        }
        for family, model in judged_models(project).items()
    }


def claim_evidence(project: Project, output_of: Callable[[str], str]) -> list[str]:
    """Return the files that the claims are judged on."""
    files = [output_of("table_3_1.csv")]
    for model in judged_models(project).values():
        for study in project.studies_of(model):
            files.append(output_of("collect_accuracy").format(model=model.name, study=study))
            files += study_evaluations(project, study, model, output_of("evaluate.scores"))
        files += _efficiency_tables(project, model, output_of)
    return files


def documents(drawn: Iterable[Drawing]) -> dict[str, list[str]]:
    """Return the PDFs of a run, by the name of the figure or table."""
    made: dict[str, list[str]] = {}
    for path in (Path(file) for drawing in drawn for file in drawing.files):
        if path.suffix == ".pdf":
            made.setdefault(path.stem, []).append(str(path))
    return made


def _efficiency_tables(
    project: Project, model: Model, output_of: Callable[[str], str]
) -> list[str]:
    study = profiled_study(project, model)
    path = output_of("collect_profiles.table")
    return [path.format(model=model.name, study=study)] if study else []
