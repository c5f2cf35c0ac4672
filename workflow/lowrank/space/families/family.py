"""What the workflow knows of a family of architectures.

Shapes are written with the names of sizes: `hidden`; `channels`, those of the MLP; `queries` and
`keys`, the sizes of all query heads and of all key/value heads together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Shape = tuple[tuple[str, ...], str]
"""Names of the sizes of a tensor's outputs and of its inputs; a fused tensor has the outputs of
several, one after the other."""


@dataclass(frozen=True)
class Family:
    """A family of architectures that share their decomposable tensors.

    Attributes
    ----------
    name
        What a study calls the family. Families whose tensors have the same names and shapes share
        one, and so take part in the same studies.
    tensors
        From the thesis's name of a tensor (`q` for W_Q) to the path of its linear module
        below the layer.
    shapes
        From the same name to its shape.
    symbols
        From the same name to the symbol as a figure prints it.
    layer_path
        Path of the list of layers in the model that is loaded.
    groups
        Named groups of tensors, for configurations that name a group instead of its members.
    stages
        The tensors of a layer in the order in which they are applied; those of one stage read
        the same input.
    outside
        Parameters outside the layers: a function of the configuration and the task.
    norms
        Vectors of the hidden size that the norms of one layer hold.
    head_norms
        Vectors of the size of a head that they hold.
    biased
        Tensors that have a bias whatever the configuration says.
    switches
        From a group of tensors to the key of the configuration that gives its tensors a bias.
    whole
        Groups that cannot be made narrower, since the model's code cuts what a fused tensor makes
        at places that the configuration fixes.
    per_layer
        Keys of the configuration that list something of each layer. What they say of a layer that
        is left out goes with it.
    sizes
        What the configuration must say on top of what every family needs.
    defaults
        What a key means where the configuration leaves it out, if that is not what other families
        take it for.
    refused
        From a key of the configuration to why a model that sets it is not supported.
    last_reserved
        The key of the configuration that holds the last position which no token of a text has;
        empty where a text begins at position 0.
    classes
        From a class of the configuration's `architectures` to its task and to the path of the
        base model in it; empty for a family that is loaded as a causal language model only.
    """

    name: str
    tensors: Mapping[str, str]
    shapes: Mapping[str, Shape]
    symbols: Mapping[str, str]
    layer_path: str
    groups: Mapping[str, tuple[str, ...]]
    stages: tuple[tuple[str, ...], ...]
    outside: Callable[[Mapping[str, Any], str], int]
    norms: int
    head_norms: int = 0
    biased: tuple[str, ...] = ()
    switches: Mapping[str, str] = field(default_factory=dict)
    whole: tuple[str, ...] = ()
    per_layer: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    last_reserved: str = ""
    classes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
