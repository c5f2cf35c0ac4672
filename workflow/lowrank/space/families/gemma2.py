"""Gemma 2: Llama's tensors, and norms before and behind both attention and the MLP.

Layers with a window and with full attention take turns (`layer_types`). Embeddings are scaled, and
are the head. The scores of attention and the logits have a soft cap.
"""

from dataclasses import replace

from lowrank.space.families import llama

FAMILY = replace(
    llama.FAMILY,
    norms=4,
    switches={"attention": "attention_bias"},
    per_layer=("layer_types",),
    defaults={"num_key_value_heads": 4, "head_dim": 256, "tie_word_embeddings": True},
    refused={"use_bidirectional_attention": "it sees tokens to come, so it predicts none"},
)
