"""What the rules of recovery ask of a project."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lowrank.project.configuration import Project
from lowrank.project.studies import Configuration, Model
from lowrank.project.views.assets import calibration_settings, text_settings
from lowrank.project.views.decompose import steps_of
from lowrank.space.design_space import expand_layers, scale_layers

NOT_TRAINING = ("label", "name", "data", "dense")
"""Keys of a recovery that do not shape how it trains: what it trains on is a file."""


def recoveries(project: Project, model: Model, decompositions: Iterable[str]) -> list[str]:
    """Return the recoveries of configurations, each once."""
    return steps_of(project, model, decompositions, "recovery")


def recovery_settings(project: Project, model: Model, recovery: str) -> dict[str, Any]:
    """Return how a recovery trains a model."""
    entry = project.recovery(recovery)
    dense, depth = entry["dense"], model.architecture.layers
    layers = expand_layers(dense["layers"]) if dense else None
    if layers and dense.get("depth", depth) != depth:
        layers = scale_layers(layers, dense["depth"], depth)
    own = {key: value for key, value in entry.items() if key not in NOT_TRAINING}
    return {"steps": None, "epochs": None} | own | {"dense_layers": layers and list(layers)}


def recovery_examples(
    project: Project, recovery: str, calibration: str, training: str
) -> list[str]:
    """Return the files of examples that a recovery trains on, in order.

    Parameters
    ----------
    calibration
        The path of a calibration set, by `{calibration}`.
    training
        The path of the questions of a training split, by `{benchmark}` and `{shown}`.
    """
    data = project.recovery(recovery)["data"]
    if "calibration" in data:
        return [calibration.replace("{calibration}", data["calibration"])]
    return [
        training.replace("{benchmark}", name).replace("{shown}", data["shown"])
        for name in data["questions"]
    ]


def training_settings(project: Project, benchmark: str) -> dict[str, Any]:
    """Return what shapes the file of a benchmark's training split."""
    entry = project.benchmark(benchmark)
    return {
        "name": benchmark,
        "sources": entry["training"],
        "columns": entry["columns"],
        "subsets": [],
        "questions": entry["splits"]["train"],
    }


def loss_curves(project: Project, study: str, model: Model) -> list[dict[str, str]]:
    """Return of each recovered configuration of a study its series and its label."""
    rows = _recovered(project, study, model)
    return [{"series": row.series, "label": row.label} for row in rows]


def loss_files(project: Project, study: str, model: Model, path: str) -> list[str]:
    """Return the loss curves of a study's recovered configurations.

    Parameters
    ----------
    path
        A curve, by `{model}`, `{parent}` and `{recovery}`.
    """
    return [
        path.format(
            model=model.name,
            parent=row.decomposition.before.name(model.architecture),
            recovery=row.decomposition.after[-1],
        )
        for row in _recovered(project, study, model)
    ]


def _recovered(project: Project, study: str, model: Model) -> list[Configuration]:
    rows = project.configurations(study, model)
    return [row for row in rows if project.registry.ends_in("recovery", row.decomposition.after)]


def shaped_by_recovery(project: Project, model: Model, recovery: str) -> dict[str, Any]:
    """Return everything in the configuration that shapes what a recovery makes of a model."""
    data = project.recovery(recovery)["data"]
    made = {"settings": recovery_settings(project, model, recovery), "data": data}
    if "calibration" in data:
        name = data["calibration"]
        made["calibration"] = calibration_settings(project, name)
        made["text"] = text_settings(project, project.calibration(name)["text"])
    else:
        made["training"] = [training_settings(project, name) for name in data["questions"]]
    return made
