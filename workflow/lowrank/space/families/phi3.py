"""Phi-3 and Phi-4-mini: fused projections, which are decomposed as they are stored.

Queries, keys and values are the outputs of one tensor, and so are gate and up. A fused tensor has
one factor pair, whose `right` all its parts read through. Channels of the MLP can be left out, a
gate with its up. Heads cannot: the model cuts the fused outputs by the heads of its configuration.
"""

from __future__ import annotations

from lowrank.space.families import llama
from lowrank.space.families.family import Family

FAMILY = Family(
    name="phi3",
    tensors={
        "qkv": "self_attn.qkv_proj",
        "so": "self_attn.o_proj",
        "gu": "mlp.gate_up_proj",
        "d": "mlp.down_proj",
    },
    shapes={
        "qkv": (("queries", "keys", "keys"), "hidden"),
        "so": (("hidden",), "queries"),
        "gu": (("channels", "channels"), "hidden"),
        "d": (("hidden",), "channels"),
    },
    symbols={"qkv": "QKV", "so": "SO", "gu": "GU", "d": "D"},
    layer_path="model.layers",
    groups={"attention": ("qkv", "so"), "mlp": ("gu", "d")},
    stages=(("qkv",), ("so",), ("gu",), ("d",)),
    outside=llama.outside,
    norms=2,
    whole=("attention",),
)
