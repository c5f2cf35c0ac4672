"""The decomposition methods: one entry of `METHODS` is all that the workflow knows of a method.

To add a method, write its factorization in `lowrank.decompose.svd` (or point to a function of
your own) and add an entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from lowrank.base.names import DROP


@dataclass(frozen=True)
class Method:
    """A way to make a layer's tensors smaller.

    Attributes
    ----------
    description
        One line for tables and captions.
    parameters
        Parameters of one decomposed tensor: a function of (out, in, rank).
    factorization
        `module:function` of the factorization `(weight_OI, rank, device) -> Factors`, or None
        for a method that stores no factors. A name, not the function, so that reading the
        registry imports no torch.
    has_core
        Whether the (rank × rank) core is stored beside the two factors.
    scope
        `tensor` if tensors are decomposed one by one; `layer` if the layer goes as a whole.
    """

    description: str
    parameters: Callable[[int, int, int], int]
    factorization: str | None
    scope: Literal["tensor", "layer"] = "tensor"
    has_core: bool = False


METHODS: Mapping[str, Method] = {
    "tucker": Method(
        "second-order Tucker decomposition, computed as a truncated singular value decomposition",
        lambda out, in_, rank: out * rank + rank * rank + rank * in_,
        "lowrank.decompose.svd:truncated_svd",
        has_core=True,
    ),
    "tucker_hoi": Method(
        "second-order Tucker decomposition by higher-order orthogonal iteration (tensorly)",
        lambda out, in_, rank: out * rank + rank * rank + rank * in_,
        "lowrank.decompose.svd:higher_order_orthogonal_iteration",
        has_core=True,
    ),
    "svd": Method(
        "truncated singular value decomposition, the core folded into a factor",
        lambda out, in_, rank: rank * (out + in_),
        "lowrank.decompose.svd:truncated_svd",
    ),
    DROP: Method(
        "the layer is left out altogether (a control)",
        lambda out, in_, rank: 0,
        None,
        scope="layer",
    ),
}
