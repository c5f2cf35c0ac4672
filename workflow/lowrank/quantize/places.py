"""Which tensors of a model are quantized, whatever its linear layers are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedModel

from lowrank.base.errors import LowrankError
from lowrank.decompose.linear import ChannelLinear, LowRankLinear, PivotedLinear
from lowrank.quantize.entry import EMBEDDINGS, HEAD, LINEAR
from lowrank.space.architecture import Architecture

FACTORS: dict[type[nn.Module], tuple[str, ...]] = {
    LowRankLinear: ("right", "left"),
    PivotedLinear: ("rows", "coefficients"),
    ChannelLinear: ("kept_weight",),
    nn.Linear: ("weight",),
}
"""From a linear layer's class to its parameters that are matrices, in their order of use."""


@dataclass(frozen=True)
class Place:
    """A tensor to quantize.

    Attributes
    ----------
    name
        `{module}.{parameter}`.
    modules
        Those that hold it: two where head and embeddings are one.
    parameter
        What it is called in each of them.
    """

    name: str
    modules: tuple[nn.Module, ...]
    parameter: str

    @property
    def tensor(self) -> Tensor:
        """The tensor, as the modules use it."""
        return getattr(self.modules[0], self.parameter)


def places(model: PreTrainedModel, parts: Sequence[str]) -> list[Place]:
    """Return the tensors of a model that are quantized, in the order of its modules.

    Parameters
    ----------
    model
        A model as `lowrank.decompose.loading` loads it.
    parts
        Of `lowrank.quantize.entry.PARTS`.

    Raises
    ------
    LowrankError
        If a part is not there, or head and embeddings are one tensor and only one is named.
    """
    made = []
    if LINEAR in parts:
        layers = Architecture.from_config(model.config.to_dict()).family.layer_path
        for path, module in model.get_submodule(layers).named_modules():
            names = next((own for kind, own in FACTORS.items() if isinstance(module, kind)), ())
            own = (Place(f"{layers}.{path}.{name}", (module,), name) for name in names)
            made += [place for place in own if place.tensor.numel()]  # no rows beside the pivots
    ends = {EMBEDDINGS: model.get_input_embeddings(), HEAD: model.get_output_embeddings()}
    named = {part: module for part, module in ends.items() if part in parts}
    for part, module in named.items():
        if module is None:
            raise LowrankError(f"quantization: parts: a {type(model).__name__} has no {part}")
    head, embeddings = ends[HEAD], ends[EMBEDDINGS]
    if named and head is not None and head.weight is embeddings.weight:
        if len(named) < len(ends):
            raise LowrankError(
                "quantization: parts: head and embeddings of this model are one tensor: "
                "name both or neither"
            )
        return [*made, Place(f"{EMBEDDINGS}.weight", (embeddings, head), "weight")]
    return [
        *made,
        *(Place(f"{part}.weight", (module,), "weight") for part, module in named.items()),
    ]
