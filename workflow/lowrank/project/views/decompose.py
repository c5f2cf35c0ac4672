"""What the rules of decomposition ask of a project."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lowrank.base.names import DENSE
from lowrank.project.configuration import Project
from lowrank.project.studies import Model
from lowrank.space.methods import METHODS

SEQUENTIAL = "|".join(name for name, own in METHODS.items() if own.inputs == "compressed")
"""A pattern of the methods that factorize behind compressed predecessors."""

WALKS = {"dense": "gather_moments", "gradients": "gather_gradients"}
"""From what a method reads of the dense model to the rule that walks it for all such methods."""


def layer_factors(project: Project, model: Model, decomposition: str, path: str) -> list[str]:
    """Return the files that a configuration is cut from.

    Parameters
    ----------
    path
        The factors of a layer, by `{model}`, `{factorization}` and `{layer}`.
    """
    made = project.decomposition(model, decomposition)
    if not made.has_factors:
        return []
    known = {"model": model.name, "factorization": made.factorization}
    return [path.format(**known, layer=layer) for layer in made.layers]


def method_module(factorization: str) -> str:
    """Return the module that a factorization is in, by the name of its method and its set.

    It is imported by this name, which no syntax tree shows.
    """
    return str(METHODS[factorization.partition(".")[0]].factorization).partition(":")[0]


def calibrations(project: Project, model: Model, decompositions: Iterable[str]) -> list[str]:
    """Return the calibration sets of configurations, each once."""
    made = (project.decomposition(model, name) for name in decompositions)
    return sorted({own.calibration for own in made if own.calibration})


def steps_of(project: Project, model: Model, decompositions: Iterable[str], kind: str) -> list[str]:
    """Return what of a kind is done to configurations after they are cut, each once.

    Parameters
    ----------
    kind
        `recovery` or `quantization`.
    """
    made = (project.decomposition(model, name) for name in decompositions)
    steps = {step for own in made for step in own.after}
    return sorted(step for step in steps if project.registry.kind_of(step) == kind)


def layer_inputs(model: str, factorization: str, path_of: Callable[[str], str]) -> list[str]:
    """Return what a factorization reads of the dense model: nothing, or that of its set.

    Parameters
    ----------
    model
        The model's name.
    factorization
        `Decomposition.factorization` of a configuration.
    path_of
        From a rule of `WALKS` to a path of its job, by `{model}` and `{calibration}`.
    """
    method, _, calibration = factorization.partition(".")
    if METHODS[method].inputs not in WALKS:
        return []
    path = path_of(WALKS[METHODS[method].inputs])
    return [path.format(model=model, calibration=calibration)]


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
