"""What the rules of the report ask of a project."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from lowrank.assets import sources
from lowrank.base.names import DENSE
from lowrank.project.configuration import Project
from lowrank.project.studies import Model, shown_as
from lowrank.project.views.analyse import benchmark_label, study_evaluations
from lowrank.project.views.figures import TABLE_MODELS, Drawing
from lowrank.project.views.profile import profile_settings, profiled_study
from lowrank.project.views.tables import THESIS_BENCHMARKS, is_carried_over


def fact_models(project: Project, output_of: Callable[[str], str]) -> list[dict[str, Any]]:
    """Return what the report's facts are gathered from, model by model."""
    return [_fact_model(project, model, output_of) for model in project.models.values()]


def _fact_model(project: Project, model: Model, output_of: Callable[[str], str]) -> dict[str, Any]:
    studies = [_fact_study(project, name, model, output_of) for name in project.studies_of(model)]
    asked = {
        name
        for study in project.studies_of(model)
        for name in project.study_benchmarks(study, model)
    }
    profiled = profiled_study(project, model)
    fits = output_of("collect_profiles.fits").format(model=model.name, study=profiled)
    return {
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
        "manifest": output_of("fetch_model.manifest").format(model=model.name),
        "evaluations": str(Path(_dense_result(model, output_of)).parent),
        "benchmarks": [
            {
                "benchmark": name,
                "label": benchmark_label(project, name),
                "metric": entry["metric"].as_record(),
                "differs": entry["differs"],
            }
            for name, entry in project.benchmarks.items()
            if name in asked
        ],
        "studies": studies,
        "fits": fits if profiled else None,
    }


def _fact_study(
    project: Project, name: str, model: Model, output_of: Callable[[str], str]
) -> dict[str, Any]:
    study = project.study(name)
    return {
        "study": name,
        **{key: study[key] for key in ("title", "look_for", "depth", "width")},
        "figure": shown_as(study),
        "source": study.get("source"),
        "carried_over": is_carried_over(project, name, model),
        "table": output_of("collect_accuracy").format(model=model.name, study=name),
    }


def fact_tables(project: Project, output_of: Callable[[str], str]) -> dict[str, str]:
    """Return the tables that the report's facts are gathered from, by name."""
    tables = {name: output_of(f"{name}.csv") for name in ("table_1_1", "table_3_1")}
    if "table_4_2" in project.settings["studies"]:
        tables["table_4_2"] = output_of("table_4_2.csv").format(model=TABLE_MODELS[0])
    return tables


def fact_run(project: Project) -> dict[str, Any]:
    """Return what the report's deviations need: settings, and names of the thesis's benchmarks."""
    return {
        "unavailable": project.unavailable_benchmarks,
        "thesis_benchmarks": [
            (name, project.benchmark(name)["label"]) for name in THESIS_BENCHMARKS
        ],
        "profile": profile_settings(project),
    }


def fact_files(project: Project, output_of: Callable[[str], str]) -> list[str]:
    """Return the files behind the facts, each once."""
    files = list(fact_tables(project, output_of).values())
    for entry in fact_models(project, output_of):
        files += [entry["manifest"]] + ([entry["fits"]] if entry["fits"] else [])
        files += [study["table"] for study in entry["studies"]]
    return list(dict.fromkeys(files))


def fact_evaluations(project: Project, output_of: Callable[[str], str]) -> list[str]:
    """Return the evaluations behind the facts, each once."""
    files = []
    for model in project.models.values():
        files.append(_dense_result(model, output_of))
        for study in project.studies_of(model):
            files += study_evaluations(project, study, model, output_of("evaluate.scores"))
    return list(dict.fromkeys(files))


def _dense_result(model: Model, output_of: Callable[[str], str]) -> str:
    return output_of("evaluate.result").format(model=model.name, decomposition=DENSE)


def report_inputs(
    files: Mapping[str, str], drawn: Iterable[Drawing], script: Callable[[str], str]
) -> dict[str, dict[str, Any]]:
    """Return, by the name in the report's template, each file, and what made the figures.

    Parameters
    ----------
    files
        The files that are no figures, by that name.
    script
        From a rule to its script.
    """
    inputs: dict[str, dict[str, Any]] = {name: {"path": path} for name, path in files.items()}
    for drawing in drawn:
        data = [path for path in drawing.files if path.endswith(".csv")]
        for path in map(Path, drawing.files):
            if path.suffix == ".pdf":
                inputs[f"{path.parent.name}/{path.name}"] = {
                    "path": str(path),
                    "rule": drawing.rule,
                    "script": script(drawing.rule),
                    "data": data[-1] if data else None,
                }
    return inputs
