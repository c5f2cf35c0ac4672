"""Qwen3: Llama's tensors, and a norm on each query head and each key head.

Each layer's attention is full or has a window, as `layer_types` says. The size of a head does not
follow from the hidden size.
"""

from dataclasses import replace

from lowrank.space.families import llama

FAMILY = replace(
    llama.FAMILY,
    head_norms=2,
    switches={"attention": "attention_bias"},
    per_layer=("layer_types",),
    defaults={"num_key_value_heads": 32, "head_dim": 128},
)
