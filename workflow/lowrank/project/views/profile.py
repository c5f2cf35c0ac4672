"""What the rules of measurement ask of a project."""

from __future__ import annotations

from typing import Any

from lowrank.base.names import DROP
from lowrank.project.configuration import Project
from lowrank.project.studies import Model
from lowrank.project.views.decompose import decomposition_names


def profile_settings(project: Project) -> dict[str, Any]:
    """Return what shapes a measurement; `study` and `benchmarks` say only what is measured."""
    own = {
        key: value
        for key, value in project.settings["profile"].items()
        if key not in ("study", "benchmarks")
    }
    return own | {key: project.settings[key] for key in ("dtype", "device", "seed")}


def profiled_study(project: Project, model: Model) -> str | None:
    """Return the study whose configurations are measured on a model, if any is."""
    study = project.settings["profile"]["study"]
    is_causal = model.architecture.task == "causal"
    return study if is_causal and study in project.studies_of(model) else None


def profiled_benchmarks(project: Project, model: Model) -> list[str]:
    """Return the benchmarks whose real requests are measured: those of lm-eval."""
    wanted = project.settings["profile"]["benchmarks"]
    return [
        name
        for name in project.benchmarks_of(model)
        if project.benchmarks[name]["scorer"] == "lm_eval" and (wanted is None or name in wanted)
    ]


def study_profiles(project: Project, study: str, model: Model, pattern: str) -> list[str]:
    """Return the records of a study, by `{model}` and `{decomposition}`; no layer is left out."""
    names = decomposition_names(project, study, model, without=[DROP])
    return [pattern.format(model=model.name, decomposition=name) for name in names]
