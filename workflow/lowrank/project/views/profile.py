"""What the rules of measurement ask of a project."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowrank.base.names import DROP
from lowrank.project.configuration import Project
from lowrank.project.studies import Model
from lowrank.project.views.decompose import decomposition_names
from lowrank.project.views.evaluate import is_for_lm_eval, limit_name
from lowrank.project.views.quantize import quantization_settings


def profile_settings(project: Project) -> dict[str, Any]:
    """Return what shapes a measurement; other keys say only what is measured."""
    own = {
        key: value
        for key, value in project.settings["profile"].items()
        if key not in ("study", "benchmarks", "fine_tuning")
    }
    return own | {key: project.settings[key] for key in ("dtype", "device", "seed")}


QLORA = "nf4"
"""The quantization that QLoRA trains over: it is its own (arXiv 2305.14314)."""


def fine_tuning_settings(project: Project) -> dict[str, Any]:
    """Return what shapes a measurement of a step that trains adapters."""
    own = project.settings["profile"]["fine_tuning"]
    entry = {"quantization": QLORA, "entry": quantization_settings(project, QLORA)}
    return own | entry | {key: project.settings[key] for key in ("dtype", "device", "seed")}


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
        if is_for_lm_eval(project, name) and (wanted is None or name in wanted)
    ]


def profiled_requests(project: Project, model: Model, path: str) -> list[str]:
    """Return the files of the benchmarks that are measured, of the run's own limits.

    Their path is by `{model}`, `{benchmark}` and `{limit}`.
    """
    limits = project.settings["benchmarks"]
    return [
        path.format(
            model=model.name,
            benchmark=benchmark,
            limit=limit_name(limits[benchmark]["limit"]),
        )
        for benchmark in profiled_benchmarks(project, model)
    ]


def study_records(
    project: Project, references: Mapping[str, Path], study: str, name: str, path: str
) -> list[str]:
    """Return the records of a study's configurations, of the run or of a measurement elsewhere.

    Where layers are left out, or a quantization is fake, nothing is measured.

    Parameters
    ----------
    references
        From the names of measurements that were made elsewhere to the folders of their records.
    name
        A model of the run, or one of `references`.
    path
        The record of a configuration of the run, by `{model}` and `{decomposition}`.
    """
    if name in references:
        return sorted(map(str, references[name].glob("*.json")))
    model = project.model(name)
    return [
        path.format(model=name, decomposition=decomposition)
        for decomposition in decomposition_names(project, study, model, without=[DROP])
        if not _quantization(project, model, decomposition).get("fake")
    ]


def training_records(
    project: Project, references: Mapping[str, Path], study: str, name: str, path: str
) -> list[str]:
    """Return the records of steps that train adapters over a study's compressed models, if any.

    Adapters are trained over weights that are quantized for it, so not over quantized models.

    Parameters
    ----------
    references, study, name, path
        As for `study_records`.
    """
    if name in references or not project.settings["profile"]["fine_tuning"]:
        return []
    model = project.model(name)
    return [
        path.format(model=name, decomposition=decomposition)
        for decomposition in decomposition_names(project, study, model, without=[DROP])
        if project.decomposition(model, decomposition).has_factors
        and not _quantization(project, model, decomposition)
    ]


def _quantization(project: Project, model: Model, decomposition: str) -> dict[str, Any]:
    """Return the entry of a configuration's quantization; empty if it has none."""
    after = project.decomposition(model, decomposition).after
    return (
        project.quantization(after[-1]) if project.registry.ends_in("quantization", after) else {}
    )
