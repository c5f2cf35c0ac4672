"""A compressed model as a dense directory, for use with other tools."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from lowrank.base.files import atomic_path, read_json
from lowrank.decompose.linear import ChannelLinear
from lowrank.decompose.loading import DTYPES, load_compressed, load_tokenizer
from lowrank.decompose.portable import CONFIG, make_portable, write_plain


def export_dense(base: str | Path, compressed: str | Path, dtype: str, output: str | Path) -> None:
    """Multiply the factors out into a dense Hugging Face directory, for use with other tools.

    The directory has the architecture and the size of the base model (less the layers that were
    dropped); channels that were left out are zeros. A note in `config.json` under `lowrank` says
    what was done to the weights.
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
    with atomic_path(output) as directory:
        model.save_pretrained(directory)
        tokenizer = load_tokenizer(base)
        tokenizer.save_pretrained(directory)
        make_portable(directory, tokenizer.model_input_names)
        config = read_json(directory / CONFIG)
        config["lowrank"] = {
            "base": manifest["model"],
            "decomposition": manifest["decomposition"]["name"],
            "parameter_reduction_percent": manifest["parameter_reduction_percent"],
        }
        write_plain(directory / CONFIG, config)
