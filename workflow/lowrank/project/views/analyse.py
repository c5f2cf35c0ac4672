"""What the rules that gather results ask of a project."""

from __future__ import annotations

from typing import Any

from lowrank.project.configuration import Project
from lowrank.project.studies import Model
from lowrank.project.views.decompose import decomposition_names


def study_evaluations(project: Project, study: str, model: Model, path: str) -> list[str]:
    """Return the files that a study needs, by `{model}`, `{decomposition}`, `{benchmark}`."""
    return [
        path.format(model=model.name, decomposition=name, benchmark=benchmark)
        for name in decomposition_names(project, study, model)
        for benchmark in project.study_benchmarks(study, model)
    ]


def study_baselines(project: Project, study: str, model: Model, path: str) -> list[str]:
    """Return the results of baselines that a study shows, by `{model}` and `{benchmark}`."""
    return [
        path.format(model=model.name, benchmark=benchmark)
        for benchmark in project.study_benchmarks(study, model)
        if project.benchmarks[benchmark]["baseline"]
    ]


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
    """Return names of the benchmarks that a study asks of a model, each with label and metric."""
    return [
        (
            name,
            {
                "label": benchmark_label(project, name),
                "metric": project.benchmarks[name]["metric"].as_record(),
            },
        )
        for name in project.study_benchmarks(study, model)
    ]
