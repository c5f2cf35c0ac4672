"""What the rules of quantization ask of a project."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lowrank.project.configuration import Project
from lowrank.project.studies import Model
from lowrank.project.views.decompose import steps_of


def quantizations(project: Project, model: Model, decompositions: Iterable[str]) -> list[str]:
    """Return the quantizations of configurations, each once."""
    return steps_of(project, model, decompositions, "quantization")


def quantization_settings(project: Project, quantization: str) -> dict[str, Any]:
    """Return how a quantization stores weights."""
    entry = project.quantization(quantization)
    return {key: value for key, value in entry.items() if key not in ("label", "name")}


def below(project: Project, model: Model, decomposition: str, paths: list[str]) -> list[str]:
    """Return the files of the compressed model that a quantized one lies on top of.

    Parameters
    ----------
    paths
        Those of a compressed model, by `{model}` and `{decomposition}`.
    """
    made = project.decomposition(model, decomposition)
    if not project.registry.ends_in("quantization", made.after):
        return []
    name = made.before.name(model.architecture)
    return [path.format(model=model.name, decomposition=name) for path in paths]
