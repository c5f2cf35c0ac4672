"""Whether a model's directory is the model that its entry declares.

Jobs are planned, and parameters are counted, by what is declared. So what is declared must say what
the directory's `config.json` says of sizes, and that what its weights are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from lowrank.assets.model_classes import CONSTRUCTOR_OPTIONS, as_read, model_from_config
from lowrank.assets.weights import are_equal, current_name, weight_shapes
from lowrank.base.errors import LowrankError, one_line
from lowrank.base.files import read_json
from lowrank.space.architecture import Architecture

SAYS_NOTHING = ("_name_or_path", "dtype", "torch_dtype", "transformers_version", "use_cache")
"""Keys that shape no weight and no score: a run has a number type of its own."""


def require_agreement(name: str, declared: Mapping[str, Any], directory: str | Path) -> None:
    """Check that a directory is the model that is declared, by its `config.json` and its weights.

    Values are compared as transformers reads them: a default that one of the two leaves out is no
    conflict.

    Parameters
    ----------
    name
        The model's name, for messages.
    declared
        The declared configuration.
    directory
        A plain Hugging Face directory.

    Raises
    ------
    LowrankError
        If a value differs, if one that changes sizes is not declared, or if the weights have other
        shapes. The message says what to declare.
    """
    found = read_json(Path(directory) / "config.json")
    if not isinstance(found, Mapping):
        raise LowrankError(f"model {name}: config.json is no configuration of a model")
    if found.get("model_type") != declared["model_type"]:
        raise LowrankError(_other(name, "model_type", found, declared))
    options = {key: declared[key] for key in CONSTRUCTOR_OPTIONS if key in declared}
    found = {**found, **options}
    try:
        there = Architecture.from_config(found)
    except LowrankError as error:
        raise LowrankError(f"model {name}: config.json: {error}") from None
    here = Architecture.from_config(declared)
    _require_values(name, declared, found, bool(here.family.classes))
    if here.facts() != there.facts():
        keys = ", ".join(f"{key}={found[key]!r}" for key in _undeclared(declared, found))
        raise LowrankError(
            f"model {name}: config.json has {keys or 'other sizes'}, which changes its sizes: "
            f"declare the same under `architecture` of config/models/{name}.yaml"
        )
    _require_weights(name, here, found, directory)


def _other(name: str, key: str, found: Mapping[str, Any], declared: Mapping[str, Any]) -> str:
    has = f"{key}={found[key]!r}" if key in found else f"no {key}"
    return f"model {name}: config.json has {has}, declared is {declared[key]!r}"


def _require_values(
    name: str, declared: Mapping[str, Any], found: Mapping[str, Any], has_classes: bool
) -> None:
    """Check each declared value against the one of `config.json`, both with their defaults."""
    there = _with_defaults(found, f"model {name}: config.json")
    here = _with_defaults(declared, f"model {name}: architecture")
    passed_over = (*SAYS_NOTHING, *CONSTRUCTOR_OPTIONS)
    if not has_classes:  # only families that have several tell them apart by it
        passed_over += ("architectures",)
    for key, value in declared.items():
        if key in passed_over:
            continue
        if here.get(key, value) != there.get(key, found.get(key)):
            raise LowrankError(_other(name, key, found, declared))


def _with_defaults(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a configuration as transformers reads it, its rotary embedding in old names, too."""
    try:
        made = as_read(config).to_dict()
    except LowrankError as error:
        raise LowrankError(f"{where}: {error}") from None
    rotary = {key: value for key, value in _rotary(made).items() if key != "type"}
    scaling = {key: value for key, value in rotary.items() if key != "rope_theta"}
    is_default = scaling.get("rope_type", "default") == "default"
    return {
        **made,
        "rope_parameters": rotary,
        "rope_theta": rotary.get("rope_theta"),
        "rope_scaling": None if is_default else scaling,
    }


def _rotary(config: Mapping[str, Any]) -> Mapping[str, Any]:
    return config.get("rope_parameters") or {}


def _undeclared(declared: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return the keys of `config.json` that change what is counted, and that are not declared."""
    facts = Architecture.from_config(declared).facts()
    made = []
    for key in found:
        try:
            changed = Architecture.from_config({**declared, key: found[key]}).facts() != facts
        except LowrankError:  # it does not fit the sizes that are declared
            changed = True
        if changed:
            made.append(key)
    return made


def _require_weights(
    name: str, architecture: Architecture, config: Mapping[str, Any], directory: str | Path
) -> None:
    """Check that the model of a configuration is what is counted, and what the safetensors hold."""
    try:
        with torch.device("meta"):
            model = model_from_config(config)
    except Exception as error:  # a configuration that no class takes
        said = f"{type(error).__name__}: {one_line(error)[:300]}"
        raise LowrankError(f"model {name}: config.json makes no model ({said})") from None
    expected = {key: tuple(own.shape) for key, own in model.named_parameters()}
    counted = sum(math.prod(shape) for shape in expected.values())
    if counted != architecture.parameters():
        raise LowrankError(
            f"model {name}: config.json makes a model of {counted:,} parameters, and "
            f"{architecture.parameters():,} are counted: this kind of model is not supported"
        )
    top = f"{model.base_model_prefix}."
    shapes = weight_shapes(directory)
    names = {_current(key, expected, top): key for key in shapes}
    held = {key: shapes[own] for key, own in names.items()}
    for key, shape in expected.items():
        if key not in held:
            raise LowrankError(_lacks(name, key))
        if held[key] != shape:
            raise LowrankError(
                f"model {name}: {key} has shape {held[key]}, config.json says {shape}"
            )
    tied = _tied(model)
    for key in sorted(held.keys() & tied.keys()):
        if not are_equal(directory, names[key], names[tied[key]]):
            raise LowrankError(
                f"model {name}: its config.json ties {key} to {tied[key]}, and its weights hold "
                "others there: set tie_word_embeddings=false in both configurations"
            )
    for key in sorted(held.keys() - expected.keys() - tied.keys()):
        if _is_of_model(key, architecture):
            raise LowrankError(
                f"model {name}: its weights hold {key}, which the model of its config.json lacks: "
                "one of the two is of another model"
            )


def _current(key: str, expected: Mapping[str, Any], top: str) -> str:
    """Return the name that transformers gives a tensor of a checkpoint."""
    key = current_name(key)
    inner = key.removeprefix(top)  # of a checkpoint with something on top of the model
    return inner if key not in expected and inner in expected else key


def _lacks(name: str, key: str) -> str:
    if key.startswith("pooler."):
        return (
            f"model {name}: its weights have no pooler: declare `add_pooling_layer: false` under "
            f"`architecture` of config/models/{name}.yaml"
        )
    return f"model {name}: its weights lack {key}, which the model of its config.json has"


def _tied(model: PreTrainedModel) -> dict[str, str]:
    """Return the names of parameters that are others at the same time, and of these."""
    first: dict[int, str] = {}
    every = model.named_parameters(remove_duplicate=False)
    return {key: first[id(own)] for key, own in every if first.setdefault(id(own), key) != key}


def _is_of_model(key: str, architecture: Architecture) -> bool:
    """Return whether a tensor that is too many is of a part that the model has.

    Encoders are kept with heads of other tasks, and causal models are not.
    """
    if not key.endswith((".weight", ".bias")):
        return False
    base = architecture.family.layer_path.removesuffix("encoder.layer")
    parts = ["encoder.", "embeddings.", *(["pooler."] if architecture.task == "encoder" else ())]
    own = tuple(base + part for part in parts)
    inner = key.partition(".")[2]  # of a checkpoint with something on top of the model
    return architecture.task == "causal" or key.startswith(own) or inner.startswith(own)
