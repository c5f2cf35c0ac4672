"""What the rules of decomposition ask of a project."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from lowrank.base.errors import LowrankError, known
from lowrank.base.names import DENSE
from lowrank.project.configuration import Project
from lowrank.project.studies import Model
from lowrank.space.design_space import Decomposition
from lowrank.space.methods import METHODS

SEQUENTIAL = "|".join(name for name, own in METHODS.items() if own.inputs == "compressed")
"""A pattern of the methods that factorize behind compressed predecessors."""

WALKS = {"dense": "gather_moments", "gradients": "gather_gradients"}
"""From what a method reads of the dense model to the rule that walks it for all such methods."""


OWN_RANK = re.compile(r"-r(\d+)$")
"""The end of the name of factors that were made for configurations that no study asks for."""


def factors_name(project: Project, model: Model, made: Decomposition) -> str:
    """Return the name of the factors that a configuration is cut from.

    They are those that the studies share, if they reach its largest rank. A larger one has factors
    of its own, such as `svd-r40`: what the studies share stays as it is.
    """
    if METHODS[made.method].scope == "channels":
        return made.factorization
    architecture = model.architecture
    every = (made.rank.rank_of(architecture, n, t) for n in made.layers for t in made.tensors)
    rank = max(every)
    is_shared = rank <= project.largest_rank(model.name, made.factorization)
    return made.factorization if is_shared else f"{made.factorization}-r{rank}"


def factors_rank(project: Project, model: str, name: str) -> int:
    """Return the rank of stored factors, by the model's name and `factors_name`."""
    own = OWN_RANK.search(name)
    return int(own[1]) if own else project.largest_rank(model, name)


def method_of(name: str) -> str:
    """Return the method that makes stored factors, by `factors_name`."""
    return OWN_RANK.sub("", name).partition(".")[0]


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
    known = {"model": model.name, "factorization": factors_name(project, model, made)}
    return [path.format(**known, layer=layer) for layer in made.layers]


def exported_from(
    project: Project,
    model: Model,
    decomposition: str,
    paths: Iterable[str],
    is_dense: bool = False,
) -> list[str]:
    """Return the files of the compressed model that a configuration is exported from.

    Parameters
    ----------
    paths
        Those of a compressed model, by `{model}` and `{decomposition}`.
    is_dense
        Whether the factors are multiplied out.

    Raises
    ------
    LowrankError
        If there is no such configuration, its weights are codes, or it has biases that dense models
        of this type have not.
    """
    made = project.decomposition(model, decomposition)
    if project.registry.ends_in("quantization", made.after):
        raise LowrankError(
            f"{decomposition!r} is quantized, and codes are not exported: export "
            f"{made.before.name(model.architecture)!r} and quantize it with the other tool"
        )
    if is_dense and made.has_factors and METHODS[made.method].has_bias:
        for tensor in made.tensors:
            if not model.architecture.has_bias(tensor):
                model.architecture.bias_switch(tensor)
    return [path.format(model=model.name, decomposition=decomposition) for path in paths]


def evaluation_at_hand(path: str, model: str, decomposition: str) -> str:
    """Return the file of a configuration's results if it is there, or nothing.

    Parameters
    ----------
    path
        The file, by `{model}` and `{decomposition}`.
    model, decomposition
        Names.
    """
    made = path.format(model=model, decomposition=decomposition)
    return made if Path(made).is_file() else ""


def method_module(factorization: str) -> str:
    """Return the module that a factorization is in, by the name of its factors.

    It is imported by this name, which no syntax tree shows.
    """
    method = known(METHODS, method_of(factorization), "method")
    return str(method.factorization).partition(":")[0]


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
        `factors_name` of a configuration.
    path_of
        From a rule of `WALKS` to a path of its job, by `{model}` and `{calibration}`.
    """
    method, _, calibration = OWN_RANK.sub("", factorization).partition(".")
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
