"""The decomposition configuration γ and the space it lives in (thesis, Section 3.1).

A γ is (pruned ranks, decomposed layers, decomposed tensors) and a method, an immutable value. Its
name is its canonical form spelled out, so studies that ask for the same γ share one result.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from lowrank.base.errors import LowrankError
from lowrank.base.names import DENSE
from lowrank.space.architecture import Architecture
from lowrank.space.methods import CHANNELS, FORMS, METHODS, PAIRS, PIVOTED
from lowrank.space.rank_rule import (
    NO_RANK,
    BreakEvenShare,
    ChannelShare,
    ModuleRanks,
    PivotedShare,
    PrunedRank,
    RankRule,
    Ranks,
    Share,
    rule_of_name,
)

MOST_LAYERS = 100_000
"""More than any model has. A mistyped range would fill the memory before it is looked at."""

STEP, EXAMPLE = "[a-z0-9_]+", "tucker-r1-l2.5-7-all"
"""A pattern of the names of what is done to a model after it is cut, and a decomposition's name."""


@dataclass(frozen=True)
class Decomposition:
    """A decomposition configuration γ (Definition 3.4).

    Use :meth:`make` to build one from loose values; it sorts and checks. Two are the same
    configuration if and only if they are equal, and if and only if their names are.

    Attributes
    ----------
    method
        Key of `lowrank.space.methods.METHODS`.
    rank
        The rule that says which rank each decomposed tensor keeps; `NO_RANK` for a method that
        works on whole layers.
    layers
        Decomposed layers, counted from 1, ascending.
    tensors
        Decomposed tensors in the family's order; all of them for a method of whole layers, whole
        groups of them for a method of channels.
    calibration
        Name of the calibration set of a method that reads inputs; empty for others.
    form
        How the factors are stored, one of `lowrank.space.methods.FORMS`; `CHANNELS` for a method
        of channels.
    after
        Names of what is done to the model afterwards, in order, such as a recovery. They are
        entries of the `config` folder.
    """

    method: str
    rank: RankRule
    layers: tuple[int, ...]
    tensors: tuple[str, ...]
    calibration: str = ""
    form: str = PAIRS
    after: tuple[str, ...] = ()

    @classmethod
    def make(
        cls,
        architecture: Architecture,
        layers: Iterable[int | str],
        tensors: str | Iterable[str] = "all",
        rank: int | RankRule = 1,
        method: str = "tucker",
        calibration: str = "",
        form: str = PAIRS,
        after: Iterable[str] = (),
    ) -> Decomposition:
        """Build the canonical γ for a model, checking validity (Proposition 3.1).

        Parameters
        ----------
        architecture
            The model.
        layers
            Layer numbers from 1, and ranges such as `"10-19"`; none for the dense model.
        tensors
            `"all"`, or names of tensors and of groups of the family.
        rank
            A pruned rank, 1 … the smallest rank of the decomposed tensors, or another rule.
        method
            Key of `lowrank.space.methods.METHODS`.
        calibration
            Name of the calibration set. A method that reads no inputs leaves it aside.
        form
            How the factors are stored; a method of whole layers leaves it aside.
        after
            Names of what is done to the model afterwards, in small letters.

        Raises
        ------
        LowrankError
            If a layer, a tensor, a rank, the method or the form does not exist, or one is
            repeated; if a method lacks its calibration set or has no such form, or the model has
            no loss whose gradient the method reads.
        """
        if method not in METHODS:
            raise LowrankError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
        if form not in FORMS:
            raise LowrankError(f"unknown form {form!r}; known: {', '.join(FORMS)}")
        steps = tuple(after)
        for step in steps:
            if not re.fullmatch(STEP, step):
                raise LowrankError(f"{step!r} is no name of what is done afterwards")
        layer_numbers = expand_layers(layers)
        for layer in layer_numbers:
            if not 1 <= layer <= architecture.layers:
                raise LowrankError(f"layer {layer} is outside 1…{architecture.layers}")
        tensor_names = _expand_tensors(architecture, tensors)
        if not layer_numbers:
            return cls(DENSE, NO_RANK, (), (), after=steps)
        if METHODS[method].scope == "layer":
            return cls(method, NO_RANK, layer_numbers, architecture.tensors, after=steps)
        reads_inputs = METHODS[method].inputs != "none"
        if reads_inputs and not re.fullmatch(r"[a-z0-9_]+", calibration):
            raise LowrankError(
                f"method {method!r} needs a calibration set, named in small letters: "
                f"{calibration!r} is none"
            )
        if METHODS[method].inputs == "gradients" and architecture.task != "causal":
            raise LowrankError(
                f"method {method!r} reads gradients of the loss of a causal language model, and "
                f"this model's task is {architecture.task!r}"
            )
        if form == PIVOTED and METHODS[method].has_core:
            raise LowrankError(f"method {method!r} has a core and no form {PIVOTED!r}: use 'svd'")
        rule = rank if isinstance(rank, RankRule) else PrunedRank(rank)
        if METHODS[method].factors_of and not isinstance(rule, ModuleRanks):
            raise LowrankError(
                f"method {method!r} needs a rank for each module, such as `make ranks` writes: "
                "use `rank: {file: …}`"
            )
        of_channels = METHODS[method].scope == "channels"
        if of_channels != isinstance(rule, ChannelShare):
            raise LowrankError(
                f"method {method!r} keeps a share of the channels, and no rank"
                if of_channels
                else f"method {method!r} keeps ranks, and no share of the channels"
            )
        if of_channels:
            tensor_names, form = _pruned(architecture, method, tensor_names), CHANNELS
        fitted = rule.fitted(architecture, layer_numbers, tensor_names)
        calibrated = calibration if reads_inputs else ""
        return cls(method, fitted, layer_numbers, tensor_names, calibrated, form, steps)

    @property
    def is_dense(self) -> bool:
        """Whether nothing is decomposed."""
        return not self.layers

    @property
    def before(self) -> Decomposition:
        """The configuration without the last of what is done afterwards."""
        return replace(self, after=self.after[:-1])

    @property
    def has_factors(self) -> bool:
        """Whether something is computed to make it: not of the dense model, nor of whole layers."""
        return not self.is_dense and METHODS[self.method].scope != "layer"

    @property
    def factorization(self) -> str:
        """The method of the factors with its calibration set, e.g. `svd_llm.prose`: their name."""
        method = METHODS[self.method].factors_of if self.has_factors else None
        return ".".join(filter(None, (method or self.method, self.calibration)))

    def name(self, architecture: Architecture) -> str:
        """Return the canonical name; usable as a file name.

        For example `tucker-r1-l3.18.32-all`, or `svd_llm.prose-p0.8-l1-30-all-pivoted`; what is
        done afterwards follows, as in `dense+lora`.
        """
        return "+".join((self._name_of_cut(architecture), *self.after))

    def _name_of_cut(self, architecture: Architecture) -> str:
        if self.is_dense:
            return DENSE
        layers = "l" + ".".join(_ranges(self.layers))
        if METHODS[self.method].scope == "layer":
            return f"{self.method}-{layers}"
        made_by = ".".join(filter(None, (self.method, self.calibration)))
        if self.form == CHANNELS and len(METHODS[self.method].prunes) == 1:
            return f"{made_by}-{self.rank.name}-{layers}"
        every = self.tensors == architecture.tensors
        tensors = "all" if every else ".".join(self.tensors)
        form = [] if self.form in (PAIRS, CHANNELS) else [self.form]
        return "-".join([made_by, self.rank.name, layers, tensors, *form])

    @classmethod
    def from_name(
        cls,
        architecture: Architecture,
        name: str,
        modules: Ranks | None = None,
    ) -> Decomposition:
        """Return the γ of a canonical name: the inverse of :meth:`name`.

        Parameters
        ----------
        architecture
            The model.
        name
            The name.
        modules
            The γ's `rank.modules`, where the name holds no more than their digest.

        Raises
        ------
        LowrankError
            If the name is not canonical or not valid for the model, or holds a digest of other
            ranks.
        """
        cut, *after = name.split("+")
        if cut == DENSE:
            return cls.make(architecture, [], after=after)
        match = re.fullmatch(
            r"(?P<method>\w+?)(\.(?P<calibration>\w+))?(-(?P<rank>[rbfpkwm][\w.]+))?-l(?P<layers>[\d.-]+?)"
            r"(-(?P<tensors>[a-z.]+)(-(?P<form>[a-z]+))?)?",
            cut,
        )
        if match is None:
            raise LowrankError(f"{name!r} is not the name of a decomposition, such as {EXAMPLE!r}")
        tensors = match["tensors"] or "all"
        made = cls.make(
            architecture,
            match["layers"].split("."),
            tensors if tensors == "all" else tensors.split("."),
            rule_of_name(architecture, match["rank"] or "r1", modules),
            match["method"],
            match["calibration"] or "",
            match["form"] or PAIRS,
            after,
        )
        if made.name(architecture) != name:
            raise LowrankError(f"{name!r} is not canonical: {made.name(architecture)!r} is")
        return made

    def removed_parameters(self, architecture: Architecture) -> int:
        """Return how many parameters γ takes away; negative if the factors outweigh the tensors."""
        if self.is_dense:
            return 0
        method = METHODS[self.method]
        if method.scope == "layer":
            return len(self.layers) * architecture.layer_parameters()
        return sum(
            math.prod(architecture.shape(tensor))
            - self.stored_parameters(architecture, layer, tensor)
            for layer in self.layers
            for tensor in self.tensors
        )

    def stored_parameters(self, architecture: Architecture, layer: int, tensor: str) -> int:
        """Return the parameters of one decomposed tensor, and what its bias has more or less."""
        method, shape = METHODS[self.method], architecture.shape(tensor)
        new_bias = method.has_bias and not architecture.has_bias(tensor)
        rank = self.rank.rank_of(architecture, layer, tensor)
        if self.form == CHANNELS:
            axis = architecture.axis(tensor)
            loses_bias = axis == 0 and architecture.has_bias(tensor)
            return shape[1 - axis] * rank - loses_bias * (shape[axis] - rank)
        return method.stored_parameters(self.form, *shape, rank) + new_bias * shape[0]

    def parameter_reduction(self, architecture: Architecture) -> float:
        """Return the parameter reduction in percent of all the model's parameters."""
        return 100.0 * self.removed_parameters(architecture) / architecture.parameters()


def expand_layers(layers: Iterable[int | str]) -> tuple[int, ...]:
    """Return layer numbers in ascending order; an item is a number or a range `"10-19"`.

    Raises
    ------
    LowrankError
        If an item is neither, a range runs backwards or to more layers than any model has, or a
        layer is repeated.
    """
    numbers: list[int] = []
    for item in layers:
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", str(item))
        if match is None or isinstance(item, bool):
            raise LowrankError(f"{item!r} is neither a layer number nor a range such as '10-19'")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise LowrankError(f"the layer range {item!r} runs backwards")
        if last > MOST_LAYERS:
            raise LowrankError(f"{item!r}: no model has {last} layers")
        numbers.extend(range(first, last + 1))
    repeated = sorted({number for number in numbers if numbers.count(number) > 1})
    if repeated:
        raise LowrankError(f"layer {repeated[0]} is listed twice")
    return tuple(sorted(numbers))


def every_layers(step: int, depth: int) -> tuple[int, ...]:
    """Return every `step`-th layer of 1…`depth`, in the middle of each run of `step` layers.

    Raises
    ------
    LowrankError
        If the model has no such layer.
    """
    layers = tuple(range((step + 1) // 2, depth + 1, step))
    if not layers:
        raise LowrankError(f"there is no layer in the middle of {step} in a model of {depth}")
    return layers


def scale_layers(layers: Sequence[int], depth: int, target_depth: int) -> tuple[int, ...]:
    """Carry a layer list to a model of another depth by relative position.

    Layer 1 stays 1 and layer `depth` becomes `target_depth`; between them positions keep their
    fraction and are rounded to the nearest layer (halves up, in exact arithmetic). Layers that
    fall together count once.

    Parameters
    ----------
    layers
        Layer numbers in 1…`depth`.
    depth, target_depth
        Number of layers the list was written for, and of the model at hand; at least 2.
    """
    step = Fraction(target_depth - 1, depth - 1)
    return tuple(sorted({1 + math.floor((layer - 1) * step + Fraction(1, 2)) for layer in layers}))


def _expand_tensors(architecture: Architecture, tensors: str | Iterable[str]) -> tuple[str, ...]:
    if tensors == "all":
        return architecture.tensors
    names: list[str] = []
    for item in [tensors] if isinstance(tensors, str) else tensors:
        group = architecture.family.groups.get(item, (item,))
        unknown = [name for name in group if name not in architecture.tensors]
        if unknown:
            known = ", ".join((*architecture.tensors, *architecture.family.groups, "all"))
            raise LowrankError(f"unknown tensor {unknown[0]!r}; known: {known}")
        names.extend(group)
    if not names:
        raise LowrankError("the list of tensors is empty")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise LowrankError(f"tensor {twice!r} is listed twice")
    return tuple(name for name in architecture.tensors if name in names)


def share_rule(share: float | int | str, form: str) -> Share:
    """Return the rule that gives every tensor the same share of its numbers, in a form."""
    return (PivotedShare if form == PIVOTED else BreakEvenShare).make(share)


def _pruned(architecture: Architecture, method: str, tensors: tuple[str, ...]) -> tuple[str, ...]:
    """Return the tensors that a method of channels makes narrower: whole groups."""
    groups = {name: architecture.family.groups[name] for name in METHODS[method].prunes}
    fixed = [name for name in groups if name in architecture.family.whole]
    if fixed:
        able = [name for name, own in METHODS.items() if own.scope == "channels"]
        able = [name for name in able if not {*METHODS[name].prunes} & {*fixed}]
        raise LowrankError(
            f"method {method!r} leaves out parts of {fixed[0]}, which the fused tensors of "
            f"{architecture.family.name} models do not allow; methods that do not: "
            f"{', '.join(able)}"
        )
    if len(groups) == 1:
        return next(iter(groups.values()))
    if tensors not in (architecture.tensors, *groups.values()):
        raise LowrankError(
            f"method {method!r} leaves out channels and heads of whole groups of tensors: use "
            f"{', '.join(groups)} or all"
        )
    return tensors


def _ranges(numbers: Sequence[int]) -> list[str]:
    """Write ascending numbers as runs: 1 3 4 5 gives `1`, `3-5`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return [f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs]
