"""Shapes of a model from its `config.json` alone, without weights and without torch.

A *decomposable tensor* is the weight of a linear layer that the thesis decomposes (Figure 3.3).
Which those are, and where a checkpoint keeps them, its family says (`lowrank.space.families`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lowrank.base.errors import LowrankError
from lowrank.space.families.family import Family
from lowrank.space.families.registry import family_of
from lowrank.space.sizes import require_sizes


@dataclass(frozen=True)
class Architecture:
    """What the decomposition needs to know of a model.

    Attributes
    ----------
    config
        The Hugging Face configuration (the content of `config.json`), with the defaults of its
        family.
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
        family, task = family_of(config), "causal"
        config = {**family.defaults, **config}
        required = ("num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size")
        required += ("num_attention_heads", *family.sizes)
        require_sizes(config, required)
        listed = config.get("architectures") or [None]
        if not isinstance(listed, list):
            raise LowrankError(f"architectures: {listed!r} is no list of names of classes")
        named = listed[0]
        reserved = config[family.last_reserved] if family.last_reserved else 0
        if not isinstance(reserved, int) or isinstance(reserved, bool) or reserved < 0:
            raise LowrankError(
                f"{family.last_reserved}: {reserved!r} is no token, and positions begin behind it"
            )
        if not family.classes and named is not None and not str(named).endswith("ForCausalLM"):
            raise LowrankError(f"architectures {named!r} is not supported; known: …ForCausalLM")
        if family.classes:
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
        return sum(self.blocks(tensor)), self._size(self.family.shapes[tensor][1])

    def blocks(self, tensor: str) -> tuple[int, ...]:
        """Return the numbers of outputs of what is fused in a tensor, in order; mostly one."""
        return tuple(self._size(name) for name in self.family.shapes[tensor][0])

    def _size(self, name: str) -> int:
        """Return a size that shapes are written with (`lowrank.space.families.family`)."""
        heads = {"queries": self.config["num_attention_heads"], "keys": self.key_value_heads}
        if name in heads:
            return heads[name] * self.head_size
        return self.config[{"hidden": "hidden_size", "channels": "intermediate_size"}[name]]

    @property
    def head_size(self) -> int:
        """Size of a head of attention."""
        fixed = self.config.get("head_dim")
        return fixed or self.config["hidden_size"] // self.config["num_attention_heads"]

    @property
    def positions(self) -> int | None:
        """Most tokens of an input; None where the configuration says nothing."""
        most = self.config.get("max_position_embeddings")
        if most is None or not self.family.last_reserved:
            return most
        return most - self.config[self.family.last_reserved] - 1

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
        return bool(self.config.get(self.family.switches.get(self.group(tensor), "")))

    def bias_switch(self, tensor: str) -> str:
        """Return the key of the configuration that gives a tensor's linear module a bias.

        Raises
        ------
        LowrankError
            If models of this type have none: a dense one would lose the bias without a word.
        """
        try:
            return self.family.switches[self.group(tensor)]
        except KeyError:
            raise LowrankError(
                f"compression gives {tensor} a bias, for which dense {self.config['model_type']} "
                "models have no place: export the low-rank form alone"
            ) from None

    def module_path(self, layer: int, tensor: str) -> str:
        """Return the path of a tensor's linear module in the model; `layer` counts from 1."""
        return f"{self.family.layer_path}.{layer - 1}.{self.family.tensors[tensor]}"

    def tensor_parameters(self) -> int:
        """Return the number of parameters of one layer's decomposable tensors."""
        return sum(math.prod(self.shape(tensor)) for tensor in self.tensors)

    def layer_parameters(self) -> int:
        """Return the number of parameters of one whole layer: tensors, biases, norms."""
        biases = sum(self.shape(tensor)[0] for tensor in self.tensors if self.has_bias(tensor))
        norms = self.family.norms * self.config["hidden_size"]
        norms += self.family.head_norms * self.head_size
        return self.tensor_parameters() + biases + norms

    def parameters(self) -> int:
        """Return the number of parameters of the whole model; tied embeddings count once."""
        outside = self.family.outside(self.config, self.task)
        return outside + self.layers * self.layer_parameters()

    def facts(self) -> tuple[Any, ...]:
        """Return all that is counted of a model; equal facts make equal sizes and reductions."""
        tensors = [(self.shape(tensor), self.has_bias(tensor)) for tensor in self.tensors]
        return (self.task, self.layers, self.key_value_heads, self.parameters(), tensors)
