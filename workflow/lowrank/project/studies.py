"""Studies: from a YAML entry to the list of configurations that it asks of a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from lowrank.base.errors import LowrankError, suggestion
from lowrank.base.names import CONTROL, DENSE, DROP, row_name
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import (
    Decomposition,
    every_layers,
    expand_layers,
    scale_layers,
    share_rule,
)
from lowrank.space.methods import METHODS
from lowrank.space.rank_rule import (
    BreakEvenShare,
    ChannelShare,
    FullRankShare,
    ModuleRanks,
    PrunedRank,
    RankRule,
    Ranks,
)

EACH = "each"
LEAST_INFLUENCE = "least_influence"

OF_DECOMPOSITION = ("method", "rank", "tensors", "calibration", "form", "after")
"""Fields that a study, a series and a label may give."""

SOURCE = "source"
"""The key of a rank file that says where its ranks come from, beside the layers."""


@dataclass(frozen=True)
class Configuration:
    """One configuration of a study, for one model.

    Attributes
    ----------
    series, label
        Its series (often the empty one) and its key in the study; together they are unique.
    decomposition
        The canonical γ.
    position
        Where the figure puts it on its horizontal axis, or None.
    thesis_reduction
        The parameter reduction that the thesis prints, in percent, or None.
    """

    series: str
    label: str
    decomposition: Decomposition
    position: float | None = None
    thesis_reduction: float | None = None


@dataclass(frozen=True)
class Model:
    """A model of `config/models/`: its entry and its architecture.

    Attributes
    ----------
    by_influence
        Its layers from 1, the least influential first; empty if that was not measured.
    """

    name: str
    label: str
    sources: list[dict[str, Any]]
    architecture: Architecture
    by_influence: tuple[int, ...] = ()


def order_by_influence(influence: Mapping[int, float], architecture: Architecture) -> list[int]:
    """Return a model's layers from 1, the least influential first; of equal ones the first.

    Parameters
    ----------
    influence
        From each layer to its block influence, or nothing.
    architecture
        The model's architecture.

    Raises
    ------
    LowrankError
        If a layer is missing, or there is no such layer.
    """
    layers = range(1, architecture.layers + 1)
    for layer in sorted({*influence, *layers} if influence else ()):
        if layer not in layers:
            raise LowrankError(f"influence: layer {layer} is outside 1…{architecture.layers}")
        if layer not in influence:
            raise LowrankError(f"influence: layer {layer} is missing")
    return sorted(influence, key=lambda layer: (influence[layer], layer))


def shown_as(study: Mapping[str, Any]) -> str | None:
    """Return the name of a study's figure, which its files have; None if it has none."""
    return study["shown_as"] or study["figure"]


def with_rank_files(study: Mapping[str, Any], read: Callable[[str], Ranks]) -> dict[str, Any]:
    """Return a study's entry with the content of the rank files that it names.

    Parameters
    ----------
    study
        The study's entry, with its defaults.
    read
        From a file's name, as it stands in the entry, to its content. What that says of the source
        of the ranks is left aside.
    """

    def filled(fields: Mapping[str, Any]) -> dict[str, Any]:
        rank = fields.get("rank")
        parts = {
            part: {name: filled(own) for name, own in fields[part].items()}
            for part in ("series", "configurations")
            if isinstance(fields.get(part), Mapping)  # `series` of a configuration is a name
        }
        if isinstance(rank, Mapping) and "file" in rank:
            content = read(rank["file"])
            ranks = {layer: own for layer, own in content.items() if layer != SOURCE}
            parts["rank"] = {**rank, "ranks": ranks}
        return {**fields, **parts}

    return filled(study)


def expand_study(study: Mapping[str, Any], model: Model, where: str) -> list[Configuration]:
    """Return the configurations that a study asks of a model, in the study's order.

    Series by series, each label makes one configuration; fields of the label have precedence over
    those of the series, and those over the study's. A series may have labels of its own, and may be
    for some models only. With `control`, a last series leaves the layers of the first out wherever
    they are decomposed whole.

    Parameters
    ----------
    study
        The study's entry, with its defaults and the content of its rank files.
    model
        The model; layer lists and pruned ranks are carried over to its depth and width.
    where
        The study's file, for messages.

    Raises
    ------
    LowrankError
        If a configuration is not valid for the model; the message names file and configuration.
    """
    made: list[Configuration] = []
    for series, shared in study["series"].items():
        if model.name not in shared.get("models", [model.name]):
            continue
        labels = shared.get("configurations", study["configurations"])
        if not labels:
            raise LowrankError(f"{where}: series {series!r} has no configurations")
        for label, own in labels.items():
            fields = {
                **{key: study[key] for key in OF_DECOMPOSITION},
                **shared,
                **own,
            }
            try:
                made += _expand(fields, series, label, study, model)
            except LowrankError as error:
                named = row_name(series, label)
                raise LowrankError(
                    f"{where}: configurations.{named}: {error} (model {model.name})"
                ) from None
    if study["control"]:
        made += [
            Configuration(
                CONTROL,
                row.label,
                Decomposition.make(model.architecture, row.decomposition.layers, method=DROP),
                row.position,
                row.thesis_reduction,
            )
            for row in list(made)
            if row.decomposition.tensors == model.architecture.tensors
            and row.series == made[0].series
        ]
    _require_names(made, where)
    return made


def _require_names(rows: Sequence[Configuration], where: str) -> None:
    """Check that tables, figures and claims can tell configurations by series and label."""
    known = set()
    for row in rows:
        named = row_name(row.series, row.label)
        if row.label == DENSE:
            raise LowrankError(
                f"{where}: configurations.{named}: every study has a row {DENSE!r} of its own, the "
                "base model's: choose another label"
            )
        if (row.series, row.label) in known:
            raise LowrankError(
                f"{where}: configurations.{named}: two configurations are called so: give one "
                "another label or series"
            )
        known.add((row.series, row.label))


def carry_rank(rank: int, width: int | None, architecture: Architecture) -> int:
    """Return a rank as the same fraction of another model's hidden size; rank 1 stays 1."""
    hidden = architecture.config["hidden_size"]
    if width is None or width == hidden or rank <= 1:
        return rank
    return max(1, math.floor(Fraction(rank * hidden, width) + Fraction(1, 2)))


def _expand(
    fields: Mapping[str, Any], series: str, label: str, study: Mapping[str, Any], model: Model
) -> list[Configuration]:
    if "layers" not in fields:
        raise LowrankError("neither the configuration nor its series names layers")
    if fields["method"] not in METHODS:
        raise LowrankError(
            f"unknown method {fields['method']!r}{suggestion(fields['method'], METHODS)}"
        )
    rank = _rank_rule(fields, study["width"], model.architecture)
    if fields["layers"] == EACH:
        rows = [(str(n), (n,), float(n)) for n in range(1, model.architecture.layers + 1)]
    else:
        layers = _carry_layers(fields["layers"], study["depth"], model)
        rows = [(label, layers, fields.get("position"))]
    return [
        Configuration(
            fields.get("series", series),
            row_label,
            Decomposition.make(
                model.architecture,
                layers,
                fields["tensors"],
                rank,
                fields["method"],
                fields["calibration"],
                fields["form"],
                fields["after"],
            ),
            position,
            fields.get("thesis_reduction"),
        )
        for row_label, layers, position in rows
    ]


def _rank_rule(
    fields: Mapping[str, Any], width: int | None, architecture: Architecture
) -> RankRule:
    """Return the rule of an entry's `rank`; shares and ranks a module hold as they are.

    A share of the parameters of factor pairs is one of the break-even rank; of a method of channels
    it is one of the channels.
    """
    given = fields["rank"]
    if not isinstance(given, Mapping):
        return PrunedRank(carry_rank(given, width, architecture))
    if "break_even" in given:
        return BreakEvenShare.make(given["break_even"])
    if "full_rank" in given:
        return FullRankShare.make(given["full_rank"])
    if "share" in given:
        if METHODS[fields["method"]].scope == "channels":
            return ChannelShare.make(given["share"])
        return share_rule(given["share"], fields["form"])
    try:
        return ModuleRanks.make(architecture, given["ranks"])
    except LowrankError as error:
        raise LowrankError(f"{given['file']}: {error}") from None


def _carry_layers(
    given: str | Mapping[str, int] | list[int | str], depth: int | None, model: Model
) -> tuple[int, ...]:
    architecture = model.architecture
    if isinstance(given, str):  # `none` or `all`, the only other words that the schema lets through
        return () if given == "none" else every_layers(1, architecture.layers)
    if isinstance(given, Mapping) and LEAST_INFLUENCE in given:
        return _least_influential(given[LEAST_INFLUENCE], model)
    if isinstance(given, Mapping):
        return every_layers(given["every"], architecture.layers)
    layers = expand_layers(given)
    if depth is None:
        return layers
    outside = [layer for layer in layers if not 1 <= layer <= depth]
    if outside:
        raise LowrankError(f"layer {outside[0]} is outside 1…{depth}")
    return (
        layers if depth == architecture.layers else scale_layers(layers, depth, architecture.layers)
    )


def _least_influential(count: int, model: Model) -> tuple[int, ...]:
    """Return the layers that a model misses least, ascending."""
    if not model.by_influence:
        raise LowrankError(
            f"{LEAST_INFLUENCE} needs config/influence/{model.name}.yaml, which "
            f"`snakemake <results>/models/{model.name}/influence/<calibration>.yaml` writes"
        )
    if count > model.architecture.layers:
        raise LowrankError(
            f"{LEAST_INFLUENCE}: {count} is above {model.architecture.layers} layers"
        )
    return tuple(sorted(model.by_influence[:count]))
