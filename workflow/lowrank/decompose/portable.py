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

from lowrank.base.files import read_json

CONFIG, TOKENIZER_CONFIG, TOKENIZER = "config.json", "tokenizer_config.json", "tokenizer.json"

NEW_ROTARY, OLD_ROTARY = "rope_parameters", "rope_scaling"
OUTSIDE = ("rope_theta", "partial_rotary_factor")
"""Rotary settings that the older words have beside the scaling, not in it."""

GLOBAL, LOCAL = "full_attention", "sliding_attention"
"""Kinds of layers that have rotary settings of their own, where a model has two of them."""

TOKENIZER_CLASS = "PreTrainedTokenizerFast"
"""The class of both versions that takes `tokenizer.json` as it is."""


def make_portable(directory: str | Path, model_input_names: list[str]) -> None:
    """Rewrite what transformers 5 saved in a directory, so that version 4 reads the same from it.

    Parameters
    ----------
    directory
        A directory with a model and a tokenizer. It still reads the same with version 5.
    model_input_names
        The tokenizer's: the two versions have different defaults.
    """
    config = Path(directory) / CONFIG
    write_plain(config, portable_config(read_json(config)))
    make_tokenizer_portable(directory, model_input_names)


def make_tokenizer_portable(directory: str | Path, model_input_names: list[str]) -> None:
    """Do so for the tokenizer of a directory alone; `make_portable` has the parameters."""
    settings, tokenizer = (Path(directory) / name for name in (TOKENIZER_CONFIG, TOKENIZER))
    if tokenizer.exists():
        made = portable_tokenizer(read_json(settings), read_json(tokenizer), model_input_names)
        write_plain(settings, made)


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
    `partial_rotary_factor` and `rope_scaling`, which is null where nothing is scaled.
    """
    made = dict(config)
    if config.get("dtype"):
        made["torch_dtype"] = config["dtype"]
    rotary = config.get(NEW_ROTARY)
    if not rotary:
        return made
    if GLOBAL in rotary:
        if rotary.get(LOCAL):
            made["rope_local_base_freq"] = rotary[LOCAL]["rope_theta"]
        rotary = rotary[GLOBAL]
    made |= {key: rotary[key] for key in OUTSIDE if rotary.get(key) is not None}
    scaling = {key: value for key, value in rotary.items() if key not in OUTSIDE}
    kind = scaling.get("rope_type", "default")
    original = scaling.get("original_max_position_embeddings")
    if original and scaling.get("factor") is None:  # version 4 divides for some scalings only
        scaling["factor"] = config["max_position_embeddings"] / original
    if kind == "longrope" and original:
        # Version 4 takes the factor of the attention from the lengths alone.
        made["original_max_position_embeddings"] = original
        if scaling.get("attention_factor") is None:
            grown = math.log(max(scaling["factor"], 1.0)) / math.log(original)
            scaling["attention_factor"] = math.sqrt(1 + grown)
    made[OLD_ROTARY] = None if kind == "default" else scaling
    return made


def portable_tokenizer(
    settings: Mapping[str, Any], tokenizer: Mapping[str, Any], model_input_names: list[str]
) -> dict[str, Any]:
    """Return a tokenizer's settings by names that both versions have.

    Parameters
    ----------
    settings
        What `tokenizer_config.json` of transformers 5 says.
    tokenizer
        What `tokenizer.json` says.
    model_input_names
        What the tokenizer returns for a model.
    """
    made = dict(settings)
    for key in ("backend", "is_local", "local_files_only"):  # of the process that saved it
        made.pop(key, None)
    extra = made.pop("extra_special_tokens", None)  # in version 4 it is a mapping
    if extra:
        made["additional_special_tokens"] = extra
    made.setdefault("clean_up_tokenization_spaces", False)
    splitting = tokenizer.get("pre_tokenizer") or {}
    if "add_prefix_space" in splitting:  # version 4 changes it to what the settings say
        made["add_prefix_space"] = splitting["add_prefix_space"]
    return made | {"tokenizer_class": TOKENIZER_CLASS, "model_input_names": model_input_names}
