"""Count the multiply-and-accumulate operations (MACs) of one forward pass, without weights.

The rule: a MAC is one product of a linear layer, of a convolution, or of the two matrix products
of attention (queries times keys, and scores times values, over all pairs of positions: a causal
mask saves nothing). Biases, norms, activations, softmax, embeddings and pooling are not counted.
A model is counted as Table 1.1 does: BERT is the encoder with its pooler and no head for
pre-training, a decoder has its LM head at every position, ResNet has its classifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    PretrainedConfig,
    PreTrainedModel,
)

from lowrank.base.errors import LowrankError

MODEL_CLASSES: Mapping[str, Any] = {
    "bert": AutoModel,
    "roberta": AutoModel,
    "resnet": AutoModelForImageClassification,
}
"""What is counted of a `model_type`; a decoder with its LM head where none is named."""

IMAGE_SIZE = 224
"""Height and width of the image that a vision model is counted on, in pixels."""


@dataclass(frozen=True)
class Cost:
    """Size and computations of one forward pass.

    Attributes
    ----------
    parameters
        Number of parameters; tied ones count once, buffers do not count.
    layer_macs
        MACs of linear layers and convolutions.
    attention_macs
        MACs of the two products of attention.
    """

    parameters: int
    layer_macs: int
    attention_macs: int

    @property
    def macs(self) -> int:
        """All the MACs."""
        return self.layer_macs + self.attention_macs

    @property
    def fp16_bytes(self) -> int:
        """Size of the parameters in FP16, in bytes."""
        return 2 * self.parameters

    @property
    def macs_per_byte(self) -> float:
        """Compute-to-model-size ratio: MACs for each byte of FP16 parameters."""
        return self.macs / self.fp16_bytes


def count(config: Mapping[str, Any], batch: int = 1, sequence: int = 128) -> Cost:
    """Count a model on the meta device: modules and activations without storage.

    Linear layers and convolutions are counted by the shapes of their weights and outputs,
    attention in closed form; PyTorch's own counter, which looks at the operations that are run,
    must find exactly two FLOPs for each of these MACs.

    Parameters
    ----------
    config
        A Hugging Face configuration, `model_type` included. Nothing is downloaded.
    batch
        Number of sequences or images.
    sequence
        Number of tokens of each sequence; without meaning for a vision model.

    Raises
    ------
    LowrankError
        If the configuration has a field that its `model_type` does not know, or the two counts
        differ.
    """
    made = _made(config)
    model_class = MODEL_CLASSES.get(made.model_type, AutoModelForCausalLM)
    with torch.device("meta"):
        model = model_class.from_config(made).eval()
        if hasattr(made, "num_channels"):
            inputs = torch.empty(batch, made.num_channels, IMAGE_SIZE, IMAGE_SIZE)
        else:
            inputs = torch.zeros(batch, sequence, dtype=torch.long)
    layer_macs, flops = _run(model, inputs)
    cost = Cost(
        sum(parameter.numel() for parameter in model.parameters()),
        layer_macs,
        attention_macs(made, batch, sequence),
    )
    if 2 * cost.macs != flops:
        raise LowrankError(
            f"{made.model_type}: {cost.macs:,} MACs by shape, but {flops:,} FLOPs by operation"
        )
    return cost


def attention_macs(config: PretrainedConfig, batch: int, sequence: int) -> int:
    """Return the MACs of attention: 2 · layers · batch · sequence² · heads · head size.

    Grouped-query attention shares keys and values between heads; the products remain.
    """
    heads = getattr(config, "num_attention_heads", 0)
    if not heads:
        return 0
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return 2 * config.num_hidden_layers * batch * sequence**2 * heads * head_size


def _made(config: Mapping[str, Any]) -> PretrainedConfig:
    fields = dict(config)
    model_type = fields.pop("model_type")
    known = AutoConfig.for_model(model_type)
    unknown = sorted(field for field in fields if not hasattr(known, field))
    if unknown:
        raise LowrankError(f"a {model_type} configuration has no field {unknown[0]!r}")
    return AutoConfig.for_model(model_type, **fields)


def _run(model: PreTrainedModel, inputs: torch.Tensor) -> tuple[int, int]:
    """Return (MACs of linear layers and convolutions, FLOPs by PyTorch's counter)."""
    found = []

    def add(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        # One row of the weight (in channels times kernel, for a convolution) an output element.
        found.append(output.numel() * module.weight[0].numel())

    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_hook(add)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(inputs)
    return sum(found), counter.get_total_flops()
