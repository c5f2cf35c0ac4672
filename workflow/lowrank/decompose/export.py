"""A compressed model as a dense directory, for use with other tools."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from lowrank.base.files import atomic_path, read_json
from lowrank.decompose.linear import ChannelLinear
from lowrank.decompose.loading import DTYPES, load_compressed, load_tokenizer
from lowrank.decompose.portable import CONFIG, make_portable, write_plain
from lowrank.space.architecture import Architecture


def export_dense(base: str | Path, compressed: str | Path, dtype: str, output: str | Path) -> None:
    """Multiply the factors out into a dense Hugging Face directory, for use with other tools.

    The directory has the architecture and the size of the base model (less the layers that were
    dropped); channels that were left out are zeros. A note in `config.json` under `lowrank` says
    what was done to the weights.

    Raises
    ------
    LowrankError
        If the compressed model cannot be read, or has a bias that dense ones have not.
    """
    model, manifest = load_compressed(base, compressed, dtype)
    for path, module in manifest["modules"].items():
        factors = model.get_submodule(path)
        out, in_ = module["shape"]
        dense = nn.Linear(in_, out, bias=factors.bias is not None, dtype=DTYPES[dtype])
        dense.weight.data = factors.float().weight.to(DTYPES[dtype])
        if factors.bias is not None:
            bias_O = factors.bias.data
            if isinstance(factors, ChannelLinear) and factors.axis == 0:
                bias_O = bias_O.new_zeros(out).index_copy(0, factors.kept, bias_O)
            dense.bias.data = bias_O.to(DTYPES[dtype])
        model.set_submodule(path, dense, strict=True)
    _declare_biases(model)
    with atomic_path(output) as directory:
        model.save_pretrained(directory)
        tokenizer = load_tokenizer(base)
        tokenizer.save_pretrained(directory)
        make_portable(directory, tokenizer)
        config = read_json(directory / CONFIG)
        config["lowrank"] = {
            "base": manifest["model"],
            "decomposition": manifest["decomposition"]["name"],
            "parameter_reduction_percent": manifest["parameter_reduction_percent"],
        }
        write_plain(directory / CONFIG, config)


def _declare_biases(model: PreTrainedModel) -> None:
    """Have a model's configuration say which linear modules have a bias.

    Whoever loads it makes modules by the configuration, and passes over a bias that has no place.
    Modules of the same switch that have none get zeros.
    """
    architecture = Architecture.from_config(model.config.to_dict())
    without = [tensor for tensor in architecture.tensors if not architecture.has_bias(tensor)]
    modules = [
        (tensor, model.get_submodule(architecture.module_path(layer, tensor)))
        for layer in range(1, architecture.layers + 1)
        for tensor in without
    ]
    new = {architecture.bias_switch(tensor) for tensor, own in modules if own.bias is not None}
    for tensor, own in modules:
        if own.bias is None and architecture.family.switches.get(architecture.group(tensor)) in new:
            own.bias = nn.Parameter(torch.zeros(own.out_features, dtype=own.weight.dtype))
    for switch in new:
        setattr(model.config, switch, True)
