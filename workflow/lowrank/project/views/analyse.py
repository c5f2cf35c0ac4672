"""What the rules that gather results ask of a project."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from lowrank.project.configuration import Project
from lowrank.project.studies import Model
from lowrank.project.views.assets import (
    asks_windows,
    calibration_settings,
    questions_settings,
    text_settings,
)
from lowrank.project.views.decompose import calibrations, decomposition_names, method_module
from lowrank.project.views.evaluate import (
    answering_settings,
    is_causal,
    metrics_modules,
    run_settings,
    scoring,
)
from lowrank.project.views.quantize import quantization_settings, quantizations
from lowrank.project.views.recover import recoveries, shaped_by_recovery
from lowrank.space.design_space import Decomposition
from lowrank.space.methods import METHODS


def study_evaluations(project: Project, study: str, model: Model, path: str) -> list[str]:
    """Return the files that a study needs, one a configuration, by `{model}`, `{decomposition}`."""
    return [
        path.format(model=model.name, decomposition=name)
        for name in decomposition_names(project, study, model)
    ]


def study_baselines(project: Project, study: str, model: Model, path: str) -> list[str]:
    """Return the results of baselines that a study shows, by `{model}` and `{benchmark}`."""
    return [
        path.format(model=model.name, benchmark=benchmark)
        for benchmark in project.study_benchmarks(study, model)
        if project.benchmarks[benchmark]["baseline"]
    ]


def shaped_by(project: Project, study: str, model: Model) -> dict[str, Any]:
    """Return everything in the configuration that shapes the scores that a study shows.

    The evaluations of a configuration are one file, which is written anew whenever one of its
    benchmarks changes. What a study does not show is not in here.
    """
    benchmarks = project.study_benchmarks(study, model)
    names = decomposition_names(project, study, model)
    made = {name: project.decomposition(model, name) for name in names}
    factorized = sorted(_factorized(made.values()))
    sets = calibrations(project, model, names)
    return {
        "sources": model.sources,
        "architecture": model.architecture.config,
        "ranks": {name: project.largest_rank(model.name, name) for name in factorized},
        "calibrations": {
            name: calibration_settings(project, name)
            | {"text": text_settings(project, project.calibration(name)["text"])}
            for name in sets
        },
        "recoveries": {
            name: shaped_by_recovery(project, model, name)
            for name in recoveries(project, model, names)
        },
        "quantizations": {
            name: quantization_settings(project, name)
            for name in quantizations(project, model, names)
        },
        "settings": run_settings(project),
        "benchmarks": {
            name: {
                "entry": scoring(project, name),
                "questions": questions_settings(project, name),
                "settings": answering_settings(project, model, name, None),
            }
            for name in benchmarks
        },
        "configurations": {
            name: {
                "modules": own.rank.modules,
                "limits": {each: project.limit(model, name, each) for each in benchmarks},
            }
            for name, own in made.items()
        },
    }


def shaping_scripts(project: Project, study: str, model: Model) -> dict[str, list[str]]:
    """Return the scripts that the scores of a study come from, with modules that each is given."""
    benchmarks = project.study_benchmarks(study, model)
    names = decomposition_names(project, study, model)
    made = [project.decomposition(model, name) for name in names]
    methods = sorted({method_module(name) for name in _factorized(made)})
    scripts = ["fetch_model", "compress", "fetch_benchmark"]
    given = {"factorize_layer": methods}
    is_calibrated = bool(calibrations(project, model, names))
    if is_calibrated or any(asks_windows(project, name) for name in benchmarks):
        scripts.append("fetch_text")
    if is_calibrated:
        scripts += ["prepare_calibration", "gather_moments"]
        if any(METHODS[own.method].inputs == "gradients" for own in made if own.has_factors):
            scripts.append("gather_gradients")
        given["compress_in_sequence"] = methods
    trained = recoveries(project, model, names)
    if trained:
        scripts.append("recover")
    if quantizations(project, model, names):
        scripts.append("quantize")
    if any("questions" in project.recovery(name)["data"] for name in trained):
        scripts.append("prepare_training")
    if any("calibration" in project.recovery(name)["data"] for name in trained):
        scripts += ["fetch_text", "prepare_calibration"]
    if is_causal(model):
        scripts += ["prepare_requests", "evaluate"]
    else:
        given["evaluate_encoder"] = metrics_modules(project, benchmarks)
    return {name: [] for name in scripts} | given


def _factorized(decompositions: Iterable[Decomposition]) -> set[str]:
    """Return the factorizations that configurations are made by."""
    return {own.factorization for own in decompositions if own.has_factors}


def study_rows(project: Project, study: str, model: Model) -> list[dict[str, Any]]:
    """Return a study's configurations as `collect_accuracy` takes them."""
    return [
        {
            "series": row.series,
            "label": row.label,
            "position": row.position,
            "method": row.decomposition.method,
            "rank": row.decomposition.rank.label,
            "decomposition": row.decomposition.name(model.architecture),
        }
        for row in project.configurations(study, model)
    ]


def benchmark_label(project: Project, name: str) -> str:
    """Return the name that figures print; it says so where generated text is cut short."""
    cap = project.settings["benchmarks"][name]["max_new_tokens"]
    label = project.benchmarks[name]["label"]
    return label if cap is None else f"{label}, {cap} tokens at most"


def described_benchmarks(
    project: Project, study: str, model: Model
) -> list[tuple[str, dict[str, Any]]]:
    """Return names of the benchmarks that a study asks of a model, each with label and metric.

    One that a recovery of the study is trained on says so, and stays out of the mean.
    """
    names = decomposition_names(project, study, model)
    data = [project.recovery(name)["data"] for name in recoveries(project, model, names)]
    trained_on = {name for own in data for name in own.get("questions", ())}
    made = []
    for name in project.study_benchmarks(study, model):
        label, metric = benchmark_label(project, name), project.benchmarks[name]["metric"]
        if name in trained_on:
            label, metric = f"{label}, trained on", replace(metric, in_mean=False)
        made.append((name, {"label": label, "metric": metric.as_record()}))
    return made
