"""What the rules of tables ask of a project."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lowrank.project.configuration import Project
from lowrank.project.meaning import quantized_parts
from lowrank.project.studies import Model
from lowrank.project.views.decompose import decomposition_names, layer_inputs
from lowrank.project.views.evaluate import benchmarks_asked
from lowrank.project.views.profile import profiled_study
from lowrank.space.design_space import Decomposition
from lowrank.space.methods import METHODS

LANGUAGE_MODELS = ("bert-base-uncased", "bert-large-uncased", "llama-2-7b", "llama-2-70b")
"""The rows of Table 3.1; a model or an architecture of the registry."""

THESIS_BENCHMARKS = (
    "arc_easy",
    "arc_challenge",
    "hellaswag",
    "mmlu",
    "truthfulqa",
    "winogrande",
    "gsm8k",
)
"""The first rows of Table 4.1."""


def table_1_1_rows(project: Project) -> list[dict[str, Any]]:
    """Return the models whose size and computations are counted."""
    return [shapes(project, name) for name in ("resnet-50", *LANGUAGE_MODELS)]


def table_3_1_rows(project: Project) -> list[dict[str, Any]]:
    """Return the models whose design space is counted."""
    return [shapes(project, name) for name in LANGUAGE_MODELS]


def table_4_1_rows(project: Project) -> list[dict[str, Any]]:
    """Return the thesis's benchmarks, then those that only the run has."""
    names = dict.fromkeys([*THESIS_BENCHMARKS, *project.benchmarks])
    return [table_4_1_row(project, name) for name in names]


def shapes(project: Project, name: str) -> dict[str, Any]:
    """Return name, label and Hugging Face configuration of a model that is only counted.

    Found in `models/`, or in `architectures/` for what no run loads.
    """
    kind = "model" if project.registry.holds("model", name) else "architecture"
    entry = project.registry.entry(kind, name)
    return {"name": name, "label": entry["label"], "architecture": entry["architecture"]}


def is_carried_over(project: Project, study: str, model: Model) -> bool:
    """Return whether a study's layer lists were written for another number of layers."""
    return project.study(study)["depth"] not in (None, model.architecture.layers)


def table_4_1_row(project: Project, name: str) -> dict[str, Any]:
    """Return what Table 4.1 needs of a benchmark: its entry, and what the run asks of it."""
    entry = project.benchmark(name)
    kept = ("name", "label", "task", "tasks", "weights", "beside", "subsets")
    splits = [source["split"] for source in entry["sources"] if "split" in source]
    used = name in project.benchmarks
    # A benchmark that lm-eval does not have goes by its scorer.
    entry.setdefault("tasks", [entry["scorer"]])
    return {key: entry[key] for key in kept} | {
        "metric": entry["metric"].as_record(),
        "splits": list(entry["splits"].items()),  # a list, to keep its order as JSON
        "split": splits[0] if splits else "–",
        "used": used,
        "counted": entry["questions"] is not None,
        "limits": _limits(project, name),
    }


def _limits(project: Project, benchmark: str) -> list[int | None]:
    """Return how many questions of a benchmark configurations are asked, each number once."""
    asked = {
        project.limit(model, name, benchmark)
        for model in project.models.values()
        for name in project.decompositions(model)
        if benchmark in benchmarks_asked(project, model, name)
    }
    return sorted(asked, key=lambda limit: (limit is None, limit))


def table_4_2_rows(project: Project, model: Model) -> list[dict[str, Any]]:
    """Return the configurations of Table 4.2 for a model."""
    return [
        {
            "label": row.label,
            "name": row.decomposition.name(model.architecture),
            "modules": row.decomposition.rank.modules,
            "thesis_reduction": row.thesis_reduction,
        }
        for row in project.configurations("table_4_2", model)
        if row.series == ""
    ]


def size_rows(project: Project, study: str, model: Model) -> list[dict[str, str]]:
    """Return of each configuration whose size a study shows its series and its label."""
    rows = project.configurations(study, model)
    return [{"series": row.series, "label": row.label} for row in rows]


def interaction_rows(project: Project, study: str, model: Model) -> list[dict[str, str]]:
    """Return a study's quantized compressed models, as the table of interactions takes them."""
    rows = project.configurations(study, model)
    return [
        {"series": row.series, "label": row.label, **names}
        for row, names in quantized_parts(rows, model, project.registry.kind_of)
    ]


def study_manifests(project: Project, study: str, model: Model, path: str) -> list[str]:
    """Return the manifest of each configuration of `size_rows`.

    Parameters
    ----------
    path
        A manifest, by `{model}` and `{decomposition}`.
    """
    return [
        path.format(model=model.name, decomposition=row.decomposition.name(model.architecture))
        for row in project.configurations(study, model)
    ]


def study_profiles(project: Project, study: str, model: Model, path: str) -> list[str]:
    """Return the table of a study's measurements, where it is the one that is measured.

    Parameters
    ----------
    path
        The table, by `{model}` and `{study}`.
    """
    is_measured = profiled_study(project, model) == study
    return [path.format(model=model.name, study=study)] if is_measured else []


def cost_manifests(project: Project, study: str, model: Model, path: str) -> list[str]:
    """Return the manifests of the compressed models whose costs a study shows.

    Parameters
    ----------
    path
        A manifest, by `{model}` and `{decomposition}`.
    """
    return [
        path.format(model=model.name, decomposition=name)
        for name in _costing(project, study, model)
    ]


def cost_rows(
    project: Project, study: str, model: Model, record_of: Callable[[str], str]
) -> list[dict[str, Any]]:
    """Return the methods whose costs a study shows, with the records of their jobs.

    Parameters
    ----------
    record_of
        From a rule to the record of its job, which has the job's wildcards as fields.
    """
    rows: dict[str, dict[str, Any]] = {}
    for name, made in _costing(project, study, model).items():
        known = {"model": model.name, "factorization": made.factorization}
        known |= {"method": made.method, "calibration": made.calibration}
        if made.factorization not in rows:
            walk = layer_inputs(model.name, made.factorization, record_of)
            rows[made.factorization] = {
                "method": made.method,
                "calibration": made.calibration,
                "tokens": _tokens(project, made.calibration),
                "walk": walk[0] if walk else None,
                "factors": record_of("factorize_layer").format(**known, layer="{layer}"),
                "layers": [],
                "configurations": [],
            }
        row = rows[made.factorization]
        is_sequential = METHODS[made.method].inputs == "compressed"
        if not is_sequential:
            row["layers"] = sorted({*row["layers"], *made.layers})
        rule = "compress_in_sequence" if is_sequential else "compress"
        of_rule = {"decomposition": name, "rest": name.partition("-")[2]}
        row["configurations"].append(record_of(rule).format(**known, **of_rule))
    return list(rows.values())


def _costing(project: Project, study: str, model: Model) -> dict[str, Decomposition]:
    """Return a study's configurations by name, without those that take no computation.

    These are the dense model, and layers that are left out as a whole.
    """
    names = decomposition_names(project, study, model)
    made = {name: project.decomposition(model, name) for name in names}
    return {name: own for name, own in made.items() if own.has_factors}


def _tokens(project: Project, calibration: str) -> int | None:
    """Return how many tokens a calibration set has; None for no set."""
    if not calibration:
        return None
    entry = project.calibration(calibration)
    return entry["samples"] * entry["length"]
