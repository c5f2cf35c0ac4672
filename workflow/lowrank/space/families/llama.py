"""Llama, of all versions; rotary scaling, as Llama 3 has it, changes no size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lowrank.space.families.family import Family


def outside(config: Mapping[str, Any], task: str) -> int:
    """Return the parameters of embedding, head (none of its own if they are tied) and last norm."""
    copies = 1 if config.get("tie_word_embeddings") else 2
    return (copies * config["vocab_size"] + 1) * config["hidden_size"]


FAMILY = Family(
    name="llama",
    tensors={
        "q": "self_attn.q_proj",
        "k": "self_attn.k_proj",
        "v": "self_attn.v_proj",
        "so": "self_attn.o_proj",
        "g": "mlp.gate_proj",
        "u": "mlp.up_proj",
        "d": "mlp.down_proj",
    },
    shapes={
        "q": (("queries",), "hidden"),
        "k": (("keys",), "hidden"),
        "v": (("keys",), "hidden"),
        "so": (("hidden",), "queries"),
        "g": (("channels",), "hidden"),
        "u": (("channels",), "hidden"),
        "d": (("hidden",), "channels"),
    },
    symbols={"q": "Q", "k": "K", "v": "V", "so": "SO", "g": "G", "u": "U", "d": "D"},
    layer_path="model.layers",
    groups={"qkv": ("q", "k", "v"), "attention": ("q", "k", "v", "so"), "mlp": ("g", "u", "d")},
    stages=(("q", "k", "v"), ("so",), ("g", "u"), ("d",)),
    outside=outside,
    norms=2,
    switches={"attention": "attention_bias", "mlp": "mlp_bias"},
)
