"""What an entry of the `config` folder must mean, beside what its schema asks of its form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lowrank.assets import sources
from lowrank.base.errors import LowrankError
from lowrank.base.names import DENSE, row_name
from lowrank.project.studies import Configuration, Model, shown_as
from lowrank.space.design_space import Decomposition

LONGEST_NAME = 200
"""Characters of a configuration's name: it is a part of names of files, which have 255 at most."""


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


def quantized_parts(
    rows: Sequence[Configuration], model: Model, kind_of: Callable[[str], str]
) -> list[tuple[Configuration, dict[str, str]]]:
    """Return a study's quantized compressed models, each with the names of what it is made of.

    These are `both`, `compression`, the model below it, `quantization`, its name, and `alone`, the
    dense model so quantized.

    Parameters
    ----------
    rows
        The study's configurations for a model.
    kind_of
        As for `require_order`.
    """
    made = []
    for row in rows:
        own = row.decomposition
        if not own.after or kind_of(own.after[-1]) != "quantization":
            continue
        compression, last = own.before.name(model.architecture), own.after[-1]
        if compression != DENSE:
            names = {"both": own.name(model.architecture), "compression": compression}
            made.append((row, names | {"quantization": last, "alone": f"{DENSE}+{last}"}))
    return made


def require_parts(
    study: Mapping[str, Any],
    where: str,
    rows: Sequence[Configuration],
    model: Model,
    kind_of: Callable[[str], str],
) -> None:
    """Check that a study whose interactions are shown has both parts of what it combines.

    Parameters
    ----------
    study, where
        Its entry, and its name for the message.
    rows, model, kind_of
        As for `quantized_parts`.

    Raises
    ------
    LowrankError
        If it has no quantized compressed model, or lacks the model below one or the dense model
        quantized as one is.
    """
    if not study["interactions"]:
        return
    known = {row.decomposition.name(model.architecture) for row in rows}
    parts = quantized_parts(rows, model, kind_of)
    if not parts:
        raise LowrankError(
            f"{where}: interactions: no configuration is compressed and quantized: add one, or "
            "leave `interactions` out"
        )
    for row, names in parts:
        for name in (names["compression"], names["alone"]):
            if name not in known:
                label = row_name(row.series, row.label)
                raise LowrankError(
                    f"{where}: interactions: {label} is compared with {name}, which is no "
                    "configuration of the study: add it, or leave `interactions` out"
                )


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
    if len(name) > LONGEST_NAME:
        raise LowrankError(
            f"{name[:40]}…: the name of a configuration has at most {LONGEST_NAME} characters"
        )
    try:
        made = Decomposition.from_name(model.architecture, name)
        require([made], name)
    except LowrankError as error:
        where = f"{name!r} is no configuration of model {model.name}"
        raise LowrankError(f"{where}: {error}") from None
    return made
