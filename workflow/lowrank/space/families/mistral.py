"""Mistral: Llama's tensors, never with a bias, and an attention window in all layers or none."""

from dataclasses import replace

from lowrank.space.families import llama

FAMILY = replace(llama.FAMILY, switches={}, defaults={"num_key_value_heads": 8})
