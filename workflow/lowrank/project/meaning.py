"""What an entry of the `config` folder must mean, beside what its schema asks of its form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lowrank.assets import sources
from lowrank.base.errors import LowrankError
from lowrank.project.studies import Model, shown_as
from lowrank.space.design_space import Decomposition


def require_division(text: Mapping[str, Any]) -> None:
    """Check that a text has one way to its parts, and that its sources go that way, too.

    Parameters
    ----------
    text
        Its entry.

    Raises
    ------
    LowrankError
        If it has none or both, or a source goes the other one.
    """
    if ("parts" in text) == ("held_out" in text):
        raise LowrankError("it needs either `parts` or `held_out`")
    for number, source in enumerate(text["sources"]):
        places = [source.get("mirror", ""), source.get("split", ""), *source.get("members", ())]
        has_parts = any("{subset}" in place for place in places)
        if has_parts != ("parts" in text):
            where = "no place" if "parts" in text else "a place"
            raise LowrankError(f"sources.{number}: it has {where} for `{{subset}}`")


def require_order(steps: Sequence[str], kind_of: Callable[[str], str], where: str) -> None:
    """Check the order of what is done to a model after it is cut.

    Parameters
    ----------
    steps
        What is done.
    kind_of
        From one of them to what it is, a recovery or a quantization.
    where
        The study's file, for the message.

    Raises
    ------
    LowrankError
        If a quantization is not the last.
    """
    if "quantization" in map(kind_of, steps[:-1]):
        raise LowrankError(
            f"{where}: after: {', '.join(steps)}: a quantization is the last of what is done"
        )


def require_entries(
    made: Iterable[Decomposition],
    where: str,
    kind_of: Callable[[str], str],
    entry_of: Callable[[str, str], Any],
) -> None:
    """Check that what configurations name is in the `config` folder, and can be had here.

    Parameters
    ----------
    made
        The configurations.
    where
        What the message names: the study's file, or the configuration.
    kind_of
        From what is done after the cut to what it is, a recovery or a quantization.
    entry_of
        From a kind and a name to the entry.

    Raises
    ------
    LowrankError
        If a calibration set, or something that is done after the cut, is not known or has no
        source; or if these are in a wrong order.
    """
    every = list(made)
    for name in dict.fromkeys(own.calibration for own in every):
        if name:
            entry_of("calibration", name)
    for steps in dict.fromkeys(own.after for own in every):
        require_order(steps, kind_of, where)
        for step in steps:
            entry_of(kind_of(step), step)


def decomposition_of_name(
    model: Model, name: str, require: Callable[[list[Decomposition], str], None]
) -> Decomposition:
    """Return the configuration that a name spells out.

    Parameters
    ----------
    model
        The model.
    name
        The name.
    require
        What checks the entries that it names, as `require_entries` does.

    Raises
    ------
    LowrankError
        If it is none of the model's.
    """
    try:
        made = Decomposition.from_name(model.architecture, name)
        require([made], name)
    except LowrankError as error:
        where = f"{name!r} is no configuration of model {model.name}"
        raise LowrankError(f"{where}: {error}") from None
    return made


def require_own_figures(studies: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that no two studies of a model write the same figure.

    Parameters
    ----------
    studies
        From the names of a model's studies to their entries.

    Raises
    ------
    LowrankError
        Naming the first two.
    """
    known: dict[str, str] = {}
    for name, study in studies.items():
        figure = shown_as(study)
        if figure in known:
            raise LowrankError(
                f"config: studies: {known[figure]} and {name} both draw {figure}: leave one out, "
                "or give it a name of its own by `shown_as`"
            )
        if figure:
            known[figure] = name


def require_training(benchmark: Mapping[str, Any]) -> None:
    """Check that a benchmark has a training split, and that it can be had here.

    Parameters
    ----------
    benchmark
        Its entry, with its `name`.

    Raises
    ------
    LowrankError
        If there is none, or none of its sources is here.
    """
    name = benchmark["name"]
    if "training" not in benchmark or "train" not in benchmark["splits"]:
        raise LowrankError(f"benchmark {name} has no `training` sources, or no number of its split")
    sources.choose_source(benchmark["training"], f"the training split of benchmark {name}", None)
