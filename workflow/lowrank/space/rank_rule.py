"""How a γ says at which rank each decomposed tensor is cut.

A rule is one pruned rank for all tensors; a share of each tensor's full rank, of its break-even
rank or of its parameters in the pivoted form; or a rank for each module. Others say which share of
the channels and heads is kept. A rule is an immutable value with one canonical name, as γ
itself is: two rules are equal if and only if their names are.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import ClassVar, Self

from lowrank.base.errors import LowrankError
from lowrank.space.architecture import Architecture

Ranks = Mapping[int | str, Mapping[str, int]]
"""From layer (from 1; as text where it comes from JSON) to tensor to rank."""

DECIMALS = 20  # of a share: its name is part of file names


class RankRule(ABC):
    """A rule that gives each decomposed tensor the rank that is kept."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The rule's part of γ's name."""

    @property
    @abstractmethod
    def label(self) -> int | str:
        """What tables and manifests print."""

    @property
    def modules(self) -> Ranks | None:
        """The ranks that the name does not spell out; None if it spells out all of the rule."""
        return None

    @abstractmethod
    def rank_of(self, architecture: Architecture, layer: int, tensor: str) -> int:
        """Return the rank at which a tensor of a layer (from 1) is cut."""

    @abstractmethod
    def fitted(
        self, architecture: Architecture, layers: Sequence[int], tensors: Sequence[str]
    ) -> RankRule:
        """Return the rule as far as it concerns these layers and tensors.

        Raises
        ------
        LowrankError
            If it gives one of them no rank, or a rank that the tensor cannot have.
        """


@dataclass(frozen=True)
class PrunedRank(RankRule):
    """One rank for every decomposed tensor (the thesis's pruned rank), named like `r250`."""

    rank: int

    @property
    def name(self) -> str:
        """`r` and the rank."""
        return f"r{self.rank}"

    @property
    def label(self) -> int:
        """The rank."""
        return self.rank

    def rank_of(self, architecture: Architecture, layer: int, tensor: str) -> int:
        """Return the one rank."""
        return self.rank

    def fitted(
        self, architecture: Architecture, layers: Sequence[int], tensors: Sequence[str]
    ) -> PrunedRank:
        """Return the rule itself, if every tensor can have the rank."""
        _require_whole(self.rank)
        for tensor in tensors:
            _require_fit(architecture, tensor, self.rank)
        return self


NO_RANK = PrunedRank(0)
"""The rule where no tensor is decomposed: of the dense model and of methods of whole layers."""


@dataclass(frozen=True)
class Share(RankRule):
    """A share of something of each tensor, named by a letter and the share, like `b0.6`.

    Attributes
    ----------
    share
        The share as it is written in decimals; 0.60 and 0.6 are one share.
    """

    share: Decimal

    letter: ClassVar[str]
    of: ClassVar[str]
    most: ClassVar[int | None] = 1

    @classmethod
    def make(cls, share: float | int | str | Decimal) -> Self:
        """Return the rule of a share; a float stands for its shortest decimal.

        Raises
        ------
        LowrankError
            If it is not a positive number, has too many decimals, or is above 1 where there is no
            more than all.
        """
        try:
            exact = Decimal(str(share))
        except InvalidOperation:
            exact = Decimal(0)
        if not exact.is_finite() or exact <= 0 or exact.as_tuple().exponent < -DECIMALS:
            raise LowrankError(
                f"the share {share!r} of {cls.of} is not a positive number of at most "
                f"{DECIMALS} decimals"
            )
        if cls.most is not None and exact > cls.most:
            raise LowrankError(f"the share {share!r} of {cls.of} is above {cls.most}")
        return cls(exact)

    @property
    def name(self) -> str:
        """The letter and the share, in its shortest decimal."""
        return f"{self.letter}{self._decimal}"

    @property
    def label(self) -> str:
        """The share, in words."""
        return f"{self._decimal} of {self.of}"

    @property
    def _decimal(self) -> str:
        text = f"{self.share:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text

    def fitted(
        self, architecture: Architecture, layers: Sequence[int], tensors: Sequence[str]
    ) -> Self:
        """Return the rule itself, if every tensor can have its rank."""
        for tensor in tensors:  # the same in every layer
            rank = self.rank_of(architecture, layers[0], tensor)
            _require_fit(architecture, tensor, rank, f"{self.label}: ")
        return self


class BreakEvenShare(Share):
    """A share of each tensor's break-even rank, named like `b0.6`.

    Two factors of an H × W tensor are as large as the tensor itself at rank HW/(H + W), its
    break-even rank. A share b keeps rank ⌊b · HW/(H + W)⌋, at least 1, in exact arithmetic: the
    budget of LLM-ROM (arXiv 2312.07046) and the ratio of SVD-LLM (arXiv 2403.07378).
    """

    letter, of, most = "b", "break-even", None

    def rank_of(self, architecture: Architecture, layer: int, tensor: str) -> int:
        """Return the share of the tensor's break-even rank, rounded down; at least 1."""
        height, width = architecture.shape(tensor)
        break_even = Fraction(height * width, height + width)
        return max(1, math.floor(Fraction(self.share) * break_even))


class FullRankShare(Share):
    """A share of each tensor's full rank, named like `f0.6042`: what LoRD counts.

    Its abstract (arXiv 2309.14021) cuts ranks by 39.58%: 3712 of 6144 are kept. Two factors of a
    square tensor are larger than it is from half of its rank on.
    """

    letter, of = "f", "the full rank"

    def rank_of(self, architecture: Architecture, layer: int, tensor: str) -> int:
        """Return the share of the tensor's full rank, rounded down; at least 1."""
        return max(1, math.floor(Fraction(self.share) * architecture.rank(tensor)))


class PivotedShare(Share):
    """A share of each tensor's parameters in the pivoted form, named like `p0.6`.

    The pivoted form of rank r takes r(H + W) − r² numbers for an H × W tensor (arXiv 2501.19090).
    A share p keeps the largest rank at which these are no more than p · HW, at least 1, in exact
    arithmetic. Factor pairs have it as a share of the break-even rank.
    """

    letter, of = "p", "the parameters, pivoted"

    def rank_of(self, architecture: Architecture, layer: int, tensor: str) -> int:
        """Return the largest rank whose pivoted form keeps to the share; at least 1."""
        height, width = architecture.shape(tensor)
        total, most = height + width, math.floor(Fraction(self.share) * height * width)
        # r(H + W) − r² rises up to the full rank: the smaller root of it, rounded down.
        rank = (total - math.isqrt(total**2 - 4 * most)) // 2
        while rank * total - rank**2 > most:  # the root was rounded down, so r was not
            rank -= 1
        return max(1, rank)


class ChannelShare(Share):
    """A share of the MLP's channels, or of the key/value heads, named like `k0.6`.

    Channels are rounded down. Heads are few, so theirs is the nearest number, of two the larger.
    """

    letter, of = "k", "the channels"

    def kept(self, architecture: Architecture, group: str) -> int:
        """Return how many parts of a group of tensors are kept; at least 1."""
        exact = Fraction(self.share) * architecture.parts(group)
        return max(1, math.floor(exact + Fraction(group == "attention", 2)))

    def rank_of(self, architecture: Architecture, layer: int, tensor: str) -> int:
        """Return how many of a tensor's outputs, or inputs, are kept."""
        group = architecture.group(tensor)
        size = architecture.shape(tensor)[architecture.axis(tensor)] // architecture.parts(group)
        return size * self.kept(architecture, group)

    def fitted(
        self, architecture: Architecture, layers: Sequence[int], tensors: Sequence[str]
    ) -> ChannelShare:
        """Return the rule of whole layers if it concerns all tensors, else that of channels."""
        rule = LayerShare if tuple(tensors) == architecture.tensors else ChannelShare
        return rule(self.share)


class LayerShare(ChannelShare):
    """A share of the weights of a layer's tensors, named like `w0.6`: of its channels and heads.

    Of the key/value heads it keeps the nearest number. The MLP's channels take what this leaves of
    the share, rounded down. So the layer keeps its share however few heads it has.
    """

    letter, of = "w", "the layer's weights"

    def kept(self, architecture: Architecture, group: str) -> int:
        """Return how many parts of a group of tensors are kept; at least 1."""
        if group == "attention":
            return super().kept(architecture, group)
        of_heads = super().kept(architecture, "attention") * architecture.part_weights("attention")
        left = Fraction(self.share) * architecture.tensor_parameters() - of_heads
        channels = max(1, math.floor(left / architecture.part_weights("mlp")))
        return min(channels, architecture.parts("mlp"))


SHARES: Mapping[str, type[Share]] = {
    rule.letter: rule
    for rule in (BreakEvenShare, FullRankShare, PivotedShare, ChannelShare, LayerShare)
}
"""From the first letter of a name to its rule."""


@dataclass(frozen=True)
class ModuleRanks(RankRule):
    """A rank for each module, named by a digest of them, like `m1a2b3c4d5e`.

    Use :meth:`make` to build one from loose values; it sorts and checks.

    Attributes
    ----------
    ranks
        (layer, tensor, rank), ascending by layer, tensors in the family's order.
    """

    ranks: tuple[tuple[int, str, int], ...]

    @classmethod
    def make(cls, architecture: Architecture, ranks: Ranks) -> ModuleRanks:
        """Build the canonical rule for a model.

        Parameters
        ----------
        architecture
            The model.
        ranks
            The ranks, in any order.

        Raises
        ------
        LowrankError
            If a layer or a tensor does not exist or stands twice, or a rank is impossible.
        """
        by_layer: dict[int, Mapping[str, int]] = {}
        for key, of_tensors in ranks.items():
            layer = int(key) if str(key).isdecimal() else 0
            if not 1 <= layer <= architecture.layers:
                raise LowrankError(f"layer {key} is outside 1…{architecture.layers}")
            if layer in by_layer:
                raise LowrankError(f"layer {layer} is listed twice")
            by_layer[layer] = of_tensors
            for tensor, rank in of_tensors.items():
                if tensor not in architecture.tensors:
                    known = ", ".join(architecture.tensors)
                    raise LowrankError(f"layer {layer}: unknown tensor {tensor!r}; known: {known}")
                _require_whole(rank, f"layer {layer}, tensor {tensor}: ")
                _require_fit(architecture, tensor, rank, f"layer {layer}: ")
        return cls(
            tuple(
                (layer, tensor, by_layer[layer][tensor])
                for layer in sorted(by_layer)
                for tensor in architecture.tensors
                if tensor in by_layer[layer]
            )
        )

    @functools.cached_property
    def name(self) -> str:
        """`m` and ten hexadecimal digits of the ranks' SHA-256."""
        text = json.dumps(self.modules, separators=(",", ":"))
        return f"m{hashlib.sha256(text.encode()).hexdigest()[:10]}"

    @property
    def label(self) -> str:
        """That there are ranks a module; `modules` has them."""
        return "ranks a module"

    @property
    def modules(self) -> Ranks:
        """The ranks, which a digest does not spell out."""
        made: dict[int | str, dict[str, int]] = {}
        for layer, tensor, rank in self.ranks:
            made.setdefault(layer, {})[tensor] = rank
        return made

    @functools.cached_property
    def _by_module(self) -> Mapping[tuple[int, str], int]:
        return {(layer, tensor): rank for layer, tensor, rank in self.ranks}

    def rank_of(self, architecture: Architecture, layer: int, tensor: str) -> int:
        """Return the module's own rank."""
        return self._by_module[layer, tensor]

    def fitted(
        self, architecture: Architecture, layers: Sequence[int], tensors: Sequence[str]
    ) -> ModuleRanks:
        """Return the ranks of these modules alone, if each of them has one."""
        for layer in layers:
            for tensor in tensors:
                if (layer, tensor) not in self._by_module:
                    raise LowrankError(f"the ranks lack tensor {tensor} of layer {layer}")
        return ModuleRanks(
            tuple(row for row in self.ranks if row[0] in layers and row[1] in tensors)
        )


def rule_of_name(architecture: Architecture, name: str, modules: Ranks | None = None) -> RankRule:
    """Return the rule of a name: the inverse of a rule's `name`.

    Parameters
    ----------
    architecture
        The model.
    name
        A name like `r250`, `b0.6` or `m1a2b3c4d5e`.
    modules
        The rule's `modules`, where the name is their digest.

    Raises
    ------
    LowrankError
        If it is no such name, or a digest of which the ranks are not given.
    """
    if re.fullmatch(r"r\d+", name):
        return PrunedRank(int(name[1:]))
    if re.fullmatch(rf"[{''.join(SHARES)}]\d+(\.\d+)?", name):
        return SHARES[name[0]].make(name[1:])
    if not re.fullmatch(r"m[0-9a-f]{10}", name):
        raise LowrankError(f"{name!r} is not the name of a rank, a share or ranks a module")
    if modules is None:
        raise LowrankError(f"{name} is the digest of ranks that no configuration of this run has")
    return ModuleRanks.make(architecture, modules)


def _require_whole(rank: int, where: str = "") -> None:
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise LowrankError(f"{where}rank {rank!r} is not a positive whole number")


def _require_fit(architecture: Architecture, tensor: str, rank: int, where: str = "") -> None:
    if rank > architecture.rank(tensor):
        raise LowrankError(
            f"{where}rank {rank} is above the rank {architecture.rank(tensor)} of tensor {tensor}"
        )
