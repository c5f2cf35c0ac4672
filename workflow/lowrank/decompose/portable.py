"""A Hugging Face directory that transformers 5 wrote, in words that transformers 4 reads as well.

Other tools have the older words, too. A setting that they do not find has a default there, and
they say nothing: a rotary base of 10000 in place of the model's own gives other numbers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json

CONFIG, TOKENIZER_CONFIG, TOKENIZER = "config.json", "tokenizer_config.json", "tokenizer.json"

NEW_ROTARY, OLD_ROTARY = "rope_parameters", "rope_scaling"
OUTSIDE = ("rope_theta", "partial_rotary_factor")
"""Rotary settings that the older words have beside the scaling, not in it."""

GLOBAL, LOCAL = "full_attention", "sliding_attention"
"""Kinds of layers that have rotary settings of their own, where a model has two of them."""

TOKENIZER_CLASS = "PreTrainedTokenizerFast"
"""The class of both versions that takes `tokenizer.json` as it is."""


OF_CLASS = ("model_input_names", "padding_side", "truncation_side")
"""What the class of a tokenizer says where its settings do not."""

CLEANS_BPE = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"


def make_portable(directory: str | Path, tokenizer: Any) -> None:
    """Rewrite what transformers 5 saved in a directory, so that version 4 reads the same from it.

    Parameters
    ----------
    directory
        A directory with a model and a tokenizer. It still reads the same with version 5.
    tokenizer
        The tokenizer that was saved there.

    Raises
    ------
    LowrankError
        If version 4 has no words for the model.
    """
    config = Path(directory) / CONFIG
    write_plain(config, portable_config(read_json(config)))
    make_tokenizer_portable(directory, tokenizer)


def make_tokenizer_portable(directory: str | Path, tokenizer: Any) -> None:
    """Do so for the tokenizer of a directory alone; `make_portable` has the parameters."""
    settings, path = (Path(directory) / name for name in (TOKENIZER_CONFIG, TOKENIZER))
    if path.exists():
        of_class = {key: getattr(tokenizer, key) for key in OF_CLASS}
        write_plain(settings, portable_tokenizer(read_json(settings), read_json(path), of_class))


def write_plain(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file as transformers does, not atomically."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def portable_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's configuration with number type and rotary settings in both spellings.

    Parameters
    ----------
    config
        What `config.json` of transformers 5 says.

    Returns
    -------
    The same, with `torch_dtype` beside `dtype`; and beside `rope_parameters` also `rope_theta`,
    `partial_rotary_factor` and `rope_scaling`, which is null where nothing is scaled. Where the
    last layers have a window, `max_window_layers` says from which one on, as `layer_types` does.

    Raises
    ------
    LowrankError
        If the layers with a window have a scaling of their own.
    """
    made = dict(config)
    if config.get("dtype"):
        made["torch_dtype"] = config["dtype"]
    types = config.get("layer_types") or ()
    if LOCAL in types and "max_window_layers" in config:  # another one after layers were dropped
        made["max_window_layers"] = types.index(LOCAL)
    rotary = config.get(NEW_ROTARY)
    if not rotary:
        return made
    if GLOBAL in rotary:
        if rotary.get(LOCAL):
            if rotary[LOCAL].get("rope_type", "default") != "default":
                raise LowrankError(
                    f"config.json: {NEW_ROTARY}.{LOCAL} is scaled: transformers 4 has no words for "
                    "that: export the low-rank form"
                )
            made["rope_local_base_freq"] = rotary[LOCAL]["rope_theta"]
        rotary = rotary[GLOBAL]
    made |= {key: rotary[key] for key in OUTSIDE if rotary.get(key) is not None}
    original, ratio = rotary.get("original_max_position_embeddings"), None
    if original:
        ratio = config["max_position_embeddings"] / original
    kind = rotary.get("rope_type", "default")
    scaling = {key: value for key, value in rotary.items() if key not in OUTSIDE}
    if original and scaling.get("factor") is None:
        scaling["factor"] = ratio
    if kind == "default":
        made[OLD_ROTARY] = None
    elif kind == "longrope" and original:
        made["original_max_position_embeddings"] = original
        made[OLD_ROTARY] = _longrope(scaling, original, ratio)
    else:
        made[OLD_ROTARY] = scaling
    return made


def _longrope(scaling: Mapping[str, Any], original: int, ratio: float | None) -> dict[str, Any]:
    """Return the older words for a scaling that version 4 computes from the two lengths.

    Its Phi-3 takes these three alone; what the lengths do not say is for its other models.
    """
    attention = scaling.get("attention_factor")
    if attention is None and scaling["factor"] == ratio:
        factors = {key: scaling[key] for key in ("short_factor", "long_factor")}
        return {"type": "longrope"} | factors
    if attention is None:
        attention = math.sqrt(1 + math.log(max(scaling["factor"], 1.0)) / math.log(original))
    return {**scaling, "attention_factor": attention}


def portable_tokenizer(
    settings: Mapping[str, Any], tokenizer: Mapping[str, Any], of_class: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a tokenizer's settings by names that both versions have.

    Parameters
    ----------
    settings
        What `tokenizer_config.json` of transformers 5 says.
    tokenizer
        What `tokenizer.json` says.
    of_class
        What its own class says: `OF_CLASS`. The two versions, and other classes, have other
        defaults.
    """
    made = dict(settings)
    for key in ("backend", "is_local", "local_files_only"):  # of the process that saved it
        made.pop(key, None)
    extra = made.pop("extra_special_tokens", None)  # in version 4 it is a mapping
    if extra:
        made["additional_special_tokens"] = extra
    is_bpe = tokenizer.get("model", {}).get("type") == "BPE"
    if is_bpe and not settings.get(CLEANS_BPE):  # version 5 cleans no spaces up there
        made["clean_up_tokenization_spaces"] = False
    made.setdefault("clean_up_tokenization_spaces", False)
    splitting = tokenizer.get("pre_tokenizer") or {}
    if "add_prefix_space" in splitting:  # version 4 changes it to what the settings say
        made["add_prefix_space"] = splitting["add_prefix_space"]
    return {**made, **of_class, "tokenizer_class": TOKENIZER_CLASS}
