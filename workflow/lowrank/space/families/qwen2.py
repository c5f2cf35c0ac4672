"""Qwen2 and Qwen2.5: Llama's tensors, with a bias where queries, keys and values are made.

Each layer's attention is full or has a window, as `layer_types` says.
"""

from dataclasses import replace

from lowrank.space.families import llama

FAMILY = replace(
    llama.FAMILY,
    biased=("q", "k", "v"),
    switches={},
    per_layer=("layer_types",),
    defaults={"num_key_value_heads": 32},
)
