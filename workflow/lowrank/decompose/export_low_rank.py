"""A compressed model as a low-rank checkpoint: what is stored is as small as the model is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lowrank.base.errors import LowrankError
from lowrank.base.files import atomic_path
from lowrank.decompose.linear import ChannelLinear, LowRankLinear, PivotedLinear
from lowrank.decompose.loading import load_compressed, load_tokenizer
from lowrank.decompose.model_card import model_card
from lowrank.decompose.portable import make_tokenizer_portable
from lowrank.decompose.pretrained_config import BASE_TYPE, FORMAT, MODEL_TYPE, NOTE, config_class
from lowrank.decompose.pretrained_model import register_model
from lowrank.space.methods import CHANNELS, PAIRS, PIVOTED


def export_low_rank(
    base: str | Path,
    compressed: str | Path,
    dtype: str,
    output: str | Path,
    evaluation: str | Path | None = None,
    dense_evaluation: str | Path | None = None,
    shard_size: str = "5GB",
) -> None:
    """Write a compressed model as a directory that transformers loads after `import lowrank`.

    Factors stay factors, what is left of channels is a smaller linear layer, and layers that were
    dropped are not there. A Tucker core is multiplied into a factor. Its README.md is a model card.

    Parameters
    ----------
    base, compressed, dtype
        As for `lowrank.decompose.loading.load_compressed`.
    output
        The directory to write.
    evaluation, dense_evaluation
        Results of this configuration and of the dense model for the card, if there are any.
    shard_size
        The most that a file of weights holds.

    Raises
    ------
    LowrankError
        If the compressed model cannot be read, or a weight is not finite.
    """
    model, manifest = load_compressed(base, compressed, dtype)
    made, parameters = low_rank_model(model, manifest)
    with atomic_path(output) as directory:
        made.save_pretrained(directory, max_shard_size=shard_size)
        tokenizer = load_tokenizer(base)
        tokenizer.save_pretrained(directory)
        make_tokenizer_portable(directory, tokenizer)
        weights = sum(path.stat().st_size for path in Path(directory).glob("*.safetensors"))
        facts = {
            "class": type(model).__name__,
            "parameters": parameters,
            "bytes": weights,
            "dtype": dtype,
        }
        card = model_card(manifest, facts, evaluation, dense_evaluation)
        (Path(directory) / "README.md").write_text(card, encoding="utf-8")


def low_rank_model(model: PreTrainedModel, manifest: dict[str, Any]) -> tuple[PreTrainedModel, int]:
    """Return a loaded compressed model in the class of checkpoints, and its number of parameters.

    Parameters
    ----------
    model, manifest
        As `lowrank.decompose.loading.load_compressed` returns them. The two models share weights.
    """
    state = dict(model.state_dict())
    modules: dict[str, dict[str, Any]] = {}
    for path, own in manifest["modules"].items():
        entry, arrays = _stored(model.get_submodule(path), own["rank"])
        modules[path] = entry
        state = {name: array for name, array in state.items() if not name.startswith(f"{path}.")}
        state |= {f"{path}.{name}": array.contiguous() for name, array in arrays.items()}
    for name, array in state.items():
        if array.is_floating_point() and not bool(array.isfinite().all()):
            raise LowrankError(f"{name} of the compressed model is not finite: it is not exported")
    fields = model.config.to_dict()
    base_type, name = fields.pop("model_type"), type(model).__name__
    note = {
        "format": FORMAT,
        "class": name,
        "modules": modules,
        "absent": [child for child, own in model._modules.items() if own is None],
        "base": manifest["model"],
        "decomposition": manifest["decomposition"]["name"],
        "dense_parameters": manifest["parameters"]["dense"],
    }
    own = config_class(base_type, name)
    config = own.from_dict(fields | {"model_type": MODEL_TYPE, BASE_TYPE: base_type, NOTE: note})
    made_class = register_model(own, type(model.config), name)
    with torch.device("meta"):
        made = made_class(config)
    made.load_state_dict(state, strict=True, assign=True)
    made.tie_weights()
    made.generation_config = getattr(model, "generation_config", None)
    return made, sum(parameter.numel() for parameter in made.parameters())


def _stored(module: nn.Module, rank: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the note's entry of a smaller module, and its arrays without padding."""
    if isinstance(module, ChannelLinear):
        form, (out, in_) = CHANNELS, module.kept_weight.shape
        rank = min(out, in_)
        arrays = {"weight": module.kept_weight.data}
    elif isinstance(module, PivotedLinear):
        form, out, in_ = PIVOTED, len(module.place), module.rows.shape[1]
        padding = len(module.rows) - rank
        arrays = {
            "rows": module.rows.data[:rank],
            "coefficients": module.coefficients.data[: out - rank, :rank],
            "place": torch.where(module.place < rank, module.place, module.place - padding).int(),
        }
    elif isinstance(module, LowRankLinear):
        form, (out, _), (_, in_) = PAIRS, module.left.shape, module.right.shape
        arrays = {"left": module.left.data[:, :rank], "right": module.right.data[:rank]}
    else:
        raise LowrankError(f"a {type(module).__name__} is not exported in a low-rank form")
    if module.bias is not None:
        arrays["bias"] = module.bias.data
    entry = {"form": form, "shape": [out, in_], "rank": rank, "bias": module.bias is not None}
    return entry, arrays
