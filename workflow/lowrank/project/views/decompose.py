"""What the rules of decomposition ask of a project."""

from __future__ import annotations

from collections.abc import Iterable

from lowrank.base.names import DENSE
from lowrank.project.configuration import Project
from lowrank.project.studies import Model
from lowrank.space.methods import METHODS


def decomposition_names(
    project: Project, study: str, model: Model, without: Iterable[str] = ()
) -> list[str]:
    """Return the names of a study's configurations, the dense model first, each once.

    Parameters
    ----------
    without
        Methods to leave out.
    """
    names = [
        row.decomposition.name(model.architecture)
        for row in project.configurations(study, model)
        if row.decomposition.method not in without
    ]
    return list(dict.fromkeys([DENSE, *names]))


def layer_factors(project: Project, model: Model, decomposition: str, pattern: str) -> list[str]:
    """Return the files that a configuration is cut from, by `{model}`, `{method}`, `{layer}`."""
    made = project.decomposition(model, decomposition)
    if made.is_dense or METHODS[made.method].scope == "layer":
        return []
    return [
        pattern.format(model=model.name, method=made.method, layer=layer) for layer in made.layers
    ]
