"""BERT: a bare encoder, or one that answers questions from a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lowrank.space.families.family import Family

SIZES = ("max_position_embeddings", "type_vocab_size")
DECODER = "as a decoder it has other attention than an encoder"


def outside(config: Mapping[str, Any], task: str) -> int:
    """Return the parameters of embeddings, with their norm, and of what is on top.

    The embeddings are of tokens, positions and types. On top is a bare encoder's pooler, or the two
    rows of span logits.
    """
    hidden = config["hidden_size"]
    rows = sum(config[key] for key in ("vocab_size", *SIZES))
    if task == "question_answering":
        on_top = 2 * hidden + 2
    else:
        on_top = hidden * hidden + hidden if config.get("add_pooling_layer", True) else 0
    return (rows + 2) * hidden + on_top


FAMILY = Family(
    name="bert",
    tensors={
        "q": "attention.self.query",
        "k": "attention.self.key",
        "v": "attention.self.value",
        "so": "attention.output.dense",
        "int": "intermediate.dense",
        "o": "output.dense",
    },
    shapes={
        "q": (("queries",), "hidden"),
        "k": (("keys",), "hidden"),
        "v": (("keys",), "hidden"),
        "so": (("hidden",), "queries"),
        "int": (("channels",), "hidden"),
        "o": (("hidden",), "channels"),
    },
    symbols={"q": "Q", "k": "K", "v": "V", "so": "SO", "int": "Int", "o": "O"},
    layer_path="encoder.layer",
    groups={"qkv": ("q", "k", "v"), "attention": ("q", "k", "v", "so"), "mlp": ("int", "o")},
    stages=(("q", "k", "v"), ("so",), ("int",), ("o",)),
    outside=outside,
    norms=4,  # two norms, a weight and a bias each
    biased=("q", "k", "v", "so", "int", "o"),
    sizes=SIZES,
    refused={"is_decoder": DECODER, "add_cross_attention": DECODER},
    classes={
        "BertModel": ("encoder", ""),
        "BertForQuestionAnswering": ("question_answering", "bert."),
    },
)
