"""Shapes of a model from its `config.json` alone, without weights and without torch.

A *decomposable tensor* is the weight of a linear layer that the thesis decomposes (Figure 3.3);
`FAMILIES` is the one place that says which those are and where a checkpoint keeps them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lowrank.errors import LowrankError


@dataclass(frozen=True)
class Family:
    """A family of architectures that share their decomposable tensors.

    Attributes
    ----------
    tensors
        From the thesis's name of a tensor (`q` for W_Q) to the path of its linear module
        below the decoder layer.
    symbols
        From the same name to the symbol as a figure prints it.
    layer_path
        Path of the list of layers in the model with its head.
    groups
        Named groups of tensors, for configurations that name a group instead of its members.
    """

    tensors: Mapping[str, str]
    symbols: Mapping[str, str]
    layer_path: str
    groups: Mapping[str, tuple[str, ...]]


LLAMA = Family(
    tensors={
        "q": "self_attn.q_proj",
        "k": "self_attn.k_proj",
        "v": "self_attn.v_proj",
        "so": "self_attn.o_proj",
        "g": "mlp.gate_proj",
        "u": "mlp.up_proj",
        "d": "mlp.down_proj",
    },
    symbols={"q": "Q", "k": "K", "v": "V", "so": "SO", "g": "G", "u": "U", "d": "D"},
    layer_path="model.layers",
    groups={"qkv": ("q", "k", "v"), "attention": ("q", "k", "v", "so"), "mlp": ("g", "u", "d")},
)

FAMILIES: Mapping[str, Family] = {"llama": LLAMA, "mistral": LLAMA}
"""From `model_type` of a Hugging Face configuration to its family."""


@dataclass(frozen=True)
class Architecture:
    """What the decomposition needs to know of a model.

    Attributes
    ----------
    config
        The Hugging Face configuration (the content of `config.json`).
    family
        Names and places of the decomposable tensors.
    layers
        Number of layers N; layers are numbered from 1 to N, as in the thesis's Table 4.2.
    """

    config: Mapping[str, Any]
    family: Family
    layers: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Architecture:
        """Read a Hugging Face configuration.

        Raises
        ------
        LowrankError
            If the family is unknown or a size is missing.
        """
        model_type = config.get("model_type")
        if model_type not in FAMILIES:
            raise LowrankError(
                f"model_type {model_type!r} is not supported; known: {', '.join(sorted(FAMILIES))}"
            )
        required = ("num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size")
        missing = [key for key in (*required, "num_attention_heads") if key not in config]
        if missing:
            raise LowrankError(f"the architecture lacks {', '.join(missing)}")
        return cls(dict(config), FAMILIES[model_type], int(config["num_hidden_layers"]))

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the decomposable tensors, in the order of the thesis's Figure 3.3."""
        return tuple(self.family.tensors)

    def shape(self, tensor: str) -> tuple[int, int]:
        """Return (out, in), the shape of one decomposable tensor; the same in every layer."""
        hidden = self.config["hidden_size"]
        intermediate = self.config["intermediate_size"]
        heads = self.config["num_attention_heads"]
        key_value_heads = self.config.get("num_key_value_heads") or heads
        head_dim = self.config.get("head_dim") or hidden // heads
        return {
            "q": (heads * head_dim, hidden),
            "k": (key_value_heads * head_dim, hidden),
            "v": (key_value_heads * head_dim, hidden),
            "so": (hidden, heads * head_dim),
            "g": (intermediate, hidden),
            "u": (intermediate, hidden),
            "d": (hidden, intermediate),
        }[tensor]

    def rank(self, tensor: str) -> int:
        """Return the largest rank of one tensor, min(out, in)."""
        return min(self.shape(tensor))

    def module_path(self, layer: int, tensor: str) -> str:
        """Return the path of a tensor's linear module in the model; `layer` counts from 1."""
        return f"{self.family.layer_path}.{layer - 1}.{self.family.tensors[tensor]}"

    def tensor_parameters(self) -> int:
        """Return the number of parameters of one layer's decomposable tensors."""
        return sum(math.prod(self.shape(tensor)) for tensor in self.tensors)

    def layer_parameters(self) -> int:
        """Return the number of parameters of one whole layer: tensors, biases, norms."""
        biased = [t for t in ("q", "k", "v", "so") if self.config.get("attention_bias")]
        biased += [t for t in ("g", "u", "d") if self.config.get("mlp_bias")]
        biases = sum(self.shape(tensor)[0] for tensor in biased)
        return self.tensor_parameters() + biases + 2 * self.config["hidden_size"]

    def parameters(self) -> int:
        """Return the number of parameters of the whole model; tied embeddings count once."""
        embedding = self.config["vocab_size"] * self.config["hidden_size"]
        copies = 1 if self.config.get("tie_word_embeddings") else 2
        return (
            copies * embedding + self.layers * self.layer_parameters() + self.config["hidden_size"]
        )
