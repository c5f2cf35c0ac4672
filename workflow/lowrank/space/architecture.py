"""Shapes of a model from its `config.json` alone, without weights and without torch.

A *decomposable tensor* is the weight of a linear layer that the thesis decomposes (Figure 3.3);
`FAMILIES` is the one place that says which those are and where a checkpoint keeps them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lowrank.base.errors import LowrankError
from lowrank.space.sizes import require_sizes, with_defaults


@dataclass(frozen=True)
class Family:
    """A family of architectures that share their decomposable tensors.

    Attributes
    ----------
    name
        What a study calls the family.
    tensors
        From the thesis's name of a tensor (`q` for W_Q) to the path of its linear module
        below the layer.
    symbols
        From the same name to the symbol as a figure prints it.
    layer_path
        Path of the list of layers in the model that is loaded.
    groups
        Named groups of tensors, for configurations that name a group instead of its members.
    stages
        The tensors of a layer in the order in which they are applied; those of one stage read
        the same input.
    outside
        Parameters outside the layers: a function of the configuration and the task.
    norms
        Vectors of the hidden size that the norms of one layer hold.
    biased
        Tensors that have a bias whatever the configuration says.
    sizes
        What the configuration must say on top of what every family needs.
    classes
        From a class of the configuration's `architectures` to its task and to the path of the
        base model in it; empty for a family that is loaded as a causal language model only.
    """

    name: str
    tensors: Mapping[str, str]
    symbols: Mapping[str, str]
    layer_path: str
    groups: Mapping[str, tuple[str, ...]]
    stages: tuple[tuple[str, ...], ...]
    outside: Callable[[Mapping[str, Any], str], int]
    norms: int
    biased: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    classes: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def _outside_llama(config: Mapping[str, Any], task: str) -> int:
    """Embedding, head (once if they are tied) and the last norm."""
    copies = 1 if config.get("tie_word_embeddings") else 2
    return (copies * config["vocab_size"] + 1) * config["hidden_size"]


def _outside_bert(config: Mapping[str, Any], task: str) -> int:
    """Three embeddings and their norm; a bare encoder's pooler, or the two rows of span logits."""
    hidden = config["hidden_size"]
    rows = sum(config[key] for key in ("vocab_size", *BERT.sizes))
    if task == "question_answering":
        on_top = 2 * hidden + 2
    else:
        on_top = hidden * hidden + hidden if config.get("add_pooling_layer", True) else 0
    return (rows + 2) * hidden + on_top


LLAMA = Family(
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
    symbols={"q": "Q", "k": "K", "v": "V", "so": "SO", "g": "G", "u": "U", "d": "D"},
    layer_path="model.layers",
    groups={"qkv": ("q", "k", "v"), "attention": ("q", "k", "v", "so"), "mlp": ("g", "u", "d")},
    stages=(("q", "k", "v"), ("so",), ("g", "u"), ("d",)),
    outside=_outside_llama,
    norms=2,
)

BERT = Family(
    name="bert",
    tensors={
        "q": "attention.self.query",
        "k": "attention.self.key",
        "v": "attention.self.value",
        "so": "attention.output.dense",
        "int": "intermediate.dense",
        "o": "output.dense",
    },
    symbols={"q": "Q", "k": "K", "v": "V", "so": "SO", "int": "Int", "o": "O"},
    layer_path="encoder.layer",
    groups={"qkv": ("q", "k", "v"), "attention": ("q", "k", "v", "so"), "mlp": ("int", "o")},
    stages=(("q", "k", "v"), ("so",), ("int",), ("o",)),
    outside=_outside_bert,
    norms=4,  # two norms, a weight and a bias each
    biased=("q", "k", "v", "so", "int", "o"),
    sizes=("max_position_embeddings", "type_vocab_size"),
    classes={
        "BertModel": ("encoder", ""),
        "BertForQuestionAnswering": ("question_answering", "bert."),
    },
)

FAMILIES: Mapping[str, Family] = {"llama": LLAMA, "mistral": LLAMA, "bert": BERT}
"""From `model_type` of a Hugging Face configuration to its family."""


@dataclass(frozen=True)
class Architecture:
    """What the decomposition needs to know of a model.

    Attributes
    ----------
    config
        The Hugging Face configuration (the content of `config.json`).
    family
        Names and places of the decomposable tensors, in the class that is loaded.
    layers
        Number of layers N; layers are numbered from 1 to N, as in the thesis's Table 4.2.
    task
        What the model does: `causal` (language model), `encoder` or `question_answering`.
    """

    config: Mapping[str, Any]
    family: Family
    layers: int
    task: str = "causal"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Architecture:
        """Read a Hugging Face configuration.

        Raises
        ------
        LowrankError
            If the family or the class is unknown, or a size is missing or is no size.
        """
        model_type = config.get("model_type")
        if not isinstance(model_type, str) or model_type not in FAMILIES:
            raise LowrankError(
                f"model_type {model_type!r} is not supported; known: {', '.join(sorted(FAMILIES))}"
            )
        family, task = FAMILIES[model_type], "causal"
        config = with_defaults(config)
        required = ("num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size")
        required += ("num_attention_heads", *family.sizes)
        require_sizes(config, required)
        if family.classes:
            named = (config.get("architectures") or [None])[0]
            if named not in family.classes:
                known = ", ".join(family.classes)
                raise LowrankError(f"architectures {named!r} is not supported; known: {known}")
            task, base = family.classes[named]
            family = replace(family, layer_path=base + family.layer_path)
        return cls(config, family, config["num_hidden_layers"], task)

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the decomposable tensors, in the order of the thesis's Figure 3.3."""
        return tuple(self.family.tensors)

    def shape(self, tensor: str) -> tuple[int, int]:
        """Return (out, in), the shape of one decomposable tensor; the same in every layer."""
        hidden = self.config["hidden_size"]
        intermediate = self.config["intermediate_size"]
        heads = self.config["num_attention_heads"]
        key_value_heads = self.key_value_heads
        head_dim = self.config.get("head_dim") or hidden // heads
        return {
            "q": (heads * head_dim, hidden),
            "k": (key_value_heads * head_dim, hidden),
            "v": (key_value_heads * head_dim, hidden),
            "so": (hidden, heads * head_dim),
            "g": (intermediate, hidden),
            "u": (intermediate, hidden),
            "d": (hidden, intermediate),
            "int": (intermediate, hidden),
            "o": (hidden, intermediate),
        }[tensor]

    @property
    def key_value_heads(self) -> int:
        """Number of key/value heads of a layer; query heads share them in equal numbers."""
        return self.config.get("num_key_value_heads") or self.config["num_attention_heads"]

    def group(self, tensor: str) -> str:
        """Return the group that a tensor is applied in: `attention` or `mlp`."""
        return "attention" if tensor in self.family.groups["attention"] else "mlp"

    def parts(self, group: str) -> int:
        """Return the number of parts that a group of tensors can do without.

        Parts of the MLP are its channels. Those of attention are its key/value heads: one of them
        goes with the query heads that share it, and with what the output projection reads of these.
        """
        return self.key_value_heads if group == "attention" else self.config["intermediate_size"]

    def part_weights(self, group: str) -> int:
        """Return the number of weights of one part of a group of tensors."""
        weights = sum(math.prod(self.shape(tensor)) for tensor in self.family.groups[group])
        return weights // self.parts(group)

    def axis(self, tensor: str) -> int:
        """Return the axis of a weight that has its group's parts: 0 for outputs, 1 for inputs.

        The last tensor of a group reads them, and the others make them.
        """
        return int(tensor == self.family.groups[self.group(tensor)][-1])

    def rank(self, tensor: str) -> int:
        """Return the largest rank of one tensor, min(out, in)."""
        return min(self.shape(tensor))

    def has_bias(self, tensor: str) -> bool:
        """Return whether a tensor's linear module has a bias."""
        if tensor in self.family.biased:
            return True
        switch = "attention_bias" if tensor in self.family.groups["attention"] else "mlp_bias"
        return bool(self.config.get(switch))

    def module_path(self, layer: int, tensor: str) -> str:
        """Return the path of a tensor's linear module in the model; `layer` counts from 1."""
        return f"{self.family.layer_path}.{layer - 1}.{self.family.tensors[tensor]}"

    def tensor_parameters(self) -> int:
        """Return the number of parameters of one layer's decomposable tensors."""
        return sum(math.prod(self.shape(tensor)) for tensor in self.tensors)

    def layer_parameters(self) -> int:
        """Return the number of parameters of one whole layer: tensors, biases, norms."""
        biases = sum(self.shape(tensor)[0] for tensor in self.tensors if self.has_bias(tensor))
        return self.tensor_parameters() + biases + self.family.norms * self.config["hidden_size"]

    def parameters(self) -> int:
        """Return the number of parameters of the whole model; tied embeddings count once."""
        outside = self.family.outside(self.config, self.task)
        return outside + self.layers * self.layer_parameters()

    def facts(self) -> tuple[Any, ...]:
        """Return all that is counted of a model; equal facts make equal sizes and reductions."""
        tensors = [(self.shape(tensor), self.has_bias(tensor)) for tensor in self.tensors]
        return (self.task, self.layers, self.key_value_heads, self.parameters(), tensors)
