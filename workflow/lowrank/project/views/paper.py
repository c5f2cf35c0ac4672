"""What the rules of the report ask of a project."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lowrank.assets import sources
from lowrank.base.names import DENSE
from lowrank.project.configuration import Project
from lowrank.project.studies import Model
from lowrank.project.views.analyse import benchmark_label, study_evaluations
from lowrank.project.views.profile import profile_settings, profiled_study
from lowrank.project.views.tables import is_carried_over


def fact_models(
    project: Project, manifest: str, result: str, accuracy: str, fits: str
) -> list[dict[str, Any]]:
    """Return what the report's facts are gathered from, model by model.

    Parameters
    ----------
    manifest
        The pattern of a model's manifest, by `{model}`.
    result
        The pattern of a result, by `{model}`, `{decomposition}`, `{benchmark}`.
    accuracy, fits
        The patterns of a study's scores and of its measured slopes, by `{model}` and `{study}`.
    """
    made = []
    for model in project.models.values():
        studies = [
            _fact_study(project, name, model, accuracy) for name in project.studies_of(model)
        ]
        asked = {name for study in studies for name in study["benchmarks"]}
        profiled = profiled_study(project, model)
        made.append(
            {
                "model": model.name,
                "label": model.label,
                "parameters": model.architecture.parameters(),
                "layers": model.architecture.layers,
                "width": model.architecture.config["hidden_size"],
                "quantized": {
                    sources.describe(source): Path(source["gguf"]).name
                    for source in model.sources
                    if "gguf" in source
                },
                "manifest": manifest.format(model=model.name),
                "benchmarks": [
                    {
                        "benchmark": name,
                        "label": benchmark_label(project, name),
                        "chance": entry["chance"],
                        "result": result.format(
                            model=model.name, decomposition=DENSE, benchmark=name
                        ),
                    }
                    for name, entry in project.benchmarks.items()
                    if name in asked
                ],
                "studies": studies,
                "fits": fits.format(model=model.name, study=profiled) if profiled else None,
            }
        )
    return made


def _fact_study(project: Project, name: str, model: Model, accuracy: str) -> dict[str, Any]:
    study = project.study(name)
    return {
        "study": name,
        **{key: study[key] for key in ("title", "figure", "look_for", "depth", "width")},
        "source": study.get("source"),
        "carried_over": is_carried_over(project, name, model),
        "benchmarks": project.study_benchmarks(name, model),
        "table": accuracy.format(model=model.name, study=name),
    }


def fact_run(project: Project, benchmarks: Iterable[str]) -> dict[str, Any]:
    """Return what the report's deviations need: settings, and names of the thesis's benchmarks."""
    return {
        "unavailable": project.unavailable_benchmarks,
        "thesis_benchmarks": [(name, project.benchmark(name)["label"]) for name in benchmarks],
        "profile": profile_settings(project),
    }


def fact_files(
    project: Project, models: Sequence[Mapping[str, Any]], tables: Mapping[str, str], scores: str
) -> list[str]:
    """Return the files behind the facts, each once.

    Parameters
    ----------
    models
        The value of `fact_models`.
    tables
        From the name of a table to its CSV.
    scores
        The pattern of a score for each question, by `{model}`, `{decomposition}`, `{benchmark}`.
    """
    files = list(tables.values())
    for entry in models:
        files += [entry["manifest"]] + ([entry["fits"]] if entry["fits"] else [])
        files += [benchmark["result"] for benchmark in entry["benchmarks"]]
        for study in entry["studies"]:
            model = project.model(entry["model"])
            files += [study["table"]]
            files += study_evaluations(project, study["study"], model, scores)
    return list(dict.fromkeys(files))


def report_figures(made: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return, by the name in the report's template, each PDF and what made it.

    Parameters
    ----------
    made
        For each job its `rule`, `script` and `files`.
    """
    inputs = {}
    for job in made:
        data = [path for path in job["files"] if path.endswith(".csv")]
        for path in map(Path, job["files"]):
            if path.suffix == ".pdf":
                inputs[f"{path.parent.name}/{path.name}"] = {
                    "path": str(path),
                    "rule": job["rule"],
                    "script": job["script"],
                    "data": data[-1] if data else None,
                }
    return inputs
