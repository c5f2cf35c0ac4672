"""The decomposition methods: one entry of `METHODS` is all that the workflow knows of a method.

To add a method, write its factorization as a function in a module of your own and add an entry
here that names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lowrank.base.names import DROP

PAIRS, PIVOTED = "pairs", "pivoted"
"""How a product of factors is stored; see `stored_parameters`."""

FORMS = (PAIRS, PIVOTED)

CHANNELS = "channels"
"""The form of what is left where whole channels or heads are left out."""


@dataclass(frozen=True)
class Method:
    """A way to make a layer's tensors smaller.

    Attributes
    ----------
    description
        One line for tables and captions.
    factorization
        `module:function` of the factorization, or None for a method that stores no factors. It is
        called with (weight_OI, rank, device) and returns `lowrank.decompose.svd.Factors`; where
        it has `inputs`, it gets `lowrank.decompose.moments.Moments` of them as a fourth argument.
        That of channels is called with (weights, inputs), each by the tensors of one group, and
        returns how much each input of the last of them matters; where it reads gradients, `inputs`
        has the saliences of the last one. A name, not the function, so that reading the registry
        imports no torch.
    inputs
        What it reads beside the weight: `none`; the inputs of the `dense` model's modules on a
        calibration set; these with the `gradients` of its loss, which a causal language model has;
        or the inputs behind the `compressed` predecessors, so that each configuration is
        factorized by itself.
    has_core
        Whether the (rank × rank) core is stored beside the two factors.
    has_bias
        Whether it changes the bias of a module, or gives it one.
    scope
        `tensor` if tensors are decomposed one by one; `channels` if channels or heads go; `layer`
        if the layer goes as a whole.
    prunes
        Groups of tensors that a method of channels can make narrower: `mlp` by its channels,
        `attention` by its key/value heads, each with the query heads that share it.
    factors_of
        The method whose stored factors it cuts, where the two differ in their ranks alone: then it
        is given a rank for each module.
    """

    description: str
    factorization: str | None
    inputs: Literal["none", "dense", "gradients", "compressed"] = "none"
    has_core: bool = False
    has_bias: bool = False
    scope: Literal["tensor", "channels", "layer"] = "tensor"
    prunes: tuple[str, ...] = ()
    factors_of: str | None = None

    def stored_parameters(self, form: str, out: int, in_: int, rank: int) -> int:
        """Return the parameters of one decomposed tensor, without its bias.

        `pairs` holds two factors, (out × rank) and (rank × in), and the core if there is one.
        `pivoted` holds `rank` rows of the product, and the other rows as combinations of them:
        rank² fewer (arXiv 2501.19090). Indices are not parameters.

        Parameters
        ----------
        form
            One of `FORMS`.
        out, in_, rank
            The tensor's shape, and the rank that is kept.
        """
        pairs = rank * (out + in_)
        return pairs - rank**2 if form == PIVOTED else pairs + rank**2 * self.has_core


METHODS: Mapping[str, Method] = {
    "tucker": Method(
        "second-order Tucker decomposition, computed as a truncated singular value decomposition",
        "lowrank.decompose.svd:truncated_svd",
        has_core=True,
    ),
    "tucker_hoi": Method(
        "second-order Tucker decomposition by higher-order orthogonal iteration (tensorly)",
        "lowrank.decompose.svd:higher_order_orthogonal_iteration",
        has_core=True,
    ),
    "svd": Method(
        "truncated singular value decomposition, the core folded into a factor",
        "lowrank.decompose.svd:truncated_svd",
    ),
    "asvd": Method(
        "singular value decomposition with columns scaled by their inputs' mean magnitude (ASVD)",
        "lowrank.decompose.calibrated:activation_scaled_svd",
        inputs="dense",
    ),
    "svd_llm": Method(
        "principal outputs, uncentred: the least error of the outputs (SVD-LLM)",
        "lowrank.decompose.calibrated:principal_outputs",
        inputs="dense",
    ),
    "svd_llm_v2": Method(
        "the same, at ranks by what a cut loses (SVD-LLM V2; `make ranks` writes them)",
        "lowrank.decompose.calibrated:principal_outputs",
        inputs="dense",
        factors_of="svd_llm",
    ),
    "lord": Method(
        "principal outputs, centred, with a bias for their mean (LoRD, atomic feature mimicking)",
        "lowrank.decompose.calibrated:principal_features",
        inputs="dense",
        has_bias=True,
    ),
    "rom": Method(
        "principal outputs, centred, without a bias, behind compressed modules (LLM-ROM)",
        "lowrank.decompose.calibrated:centred_principal_outputs",
        inputs="compressed",
    ),
    "rom_dense": Method(
        "principal outputs, centred, without a bias, of the dense model (LLM-ROM, other inputs)",
        "lowrank.decompose.calibrated:centred_principal_outputs",
        inputs="dense",
    ),
    "rom_bias": Method(
        "principal outputs, centred, with a bias, behind compressed modules (LLM-ROM, with a bias)",
        "lowrank.decompose.calibrated:principal_features",
        inputs="compressed",
        has_bias=True,
    ),
    "wanda": Method(
        "the least channels of the MLP are left out, by weights and inputs (a control; Wanda)",
        "lowrank.decompose.channels:wanda",
        inputs="dense",
        scope="channels",
        prunes=("mlp",),
    ),
    "wanda_sp": Method(
        "the least channels and groups of heads are left out (a control; Wanda-sp)",
        "lowrank.decompose.channels:wanda",
        inputs="dense",
        scope="channels",
        prunes=("attention", "mlp"),
    ),
    "taylor": Method(
        "the least channels and groups of heads are left out, by gradients (a control; LLM-Pruner)",
        "lowrank.decompose.channels:taylor",
        inputs="gradients",
        scope="channels",
        prunes=("attention", "mlp"),
    ),
    DROP: Method("the layer is left out altogether (a control)", None, scope="layer"),
}
