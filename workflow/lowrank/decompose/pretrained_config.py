"""The configuration of a low-rank checkpoint, for transformers to find. It imports no torch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from transformers import AutoConfig
from transformers.configuration_utils import PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from lowrank.base.errors import LowrankError
from lowrank.space.methods import CHANNELS, PAIRS, PIVOTED

MODEL_TYPE = "lowrank (import lowrank first)"
"""Transformers prints it where it does not know it."""

BASE_TYPE, NOTE = "base_model_type", "lowrank"
"""Keys of `config.json`: the `model_type` of the model that was compressed, and what was done."""

FORMAT = "lowrank-checkpoint-1"
READ = f"format {FORMAT}, which this version of lowrank reads: export again, or update lowrank"
KEYS = {"class": str, "modules": dict, "absent": list}
"""What the note must have beside its format: the class that was compressed; from the path of a
smaller module to its `form`, `shape`, `rank` and whether it has a `bias`; and modules of the class
that the model does without."""


def register() -> None:
    """Let transformers know the configurations of low-rank checkpoints."""
    AutoConfig.register(MODEL_TYPE, LowRankConfig, exist_ok=True)


class LowRankConfig(PretrainedConfig):
    """What `config.json` of a low-rank checkpoint is read as: one of its base's kind."""

    model_type = MODEL_TYPE

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Return the configuration that the class of the model takes.

        Raises
        ------
        LowrankError
            If it is none of a low-rank checkpoint, or of a model that transformers lacks.
        """
        note = config_dict.get(NOTE)
        if not isinstance(note, dict) or note.get("format") != FORMAT:
            raise LowrankError(f"config.json is not one of a low-rank checkpoint of {READ}")
        for key, kind in KEYS.items():
            if not isinstance(note.get(key), kind):
                raise LowrankError(f"config.json: {NOTE}.{key} is missing or no {kind.__name__}")
        for path, own in note["modules"].items():
            _require_module(path, own)
        own = config_class(str(config_dict.get(BASE_TYPE)), note["class"])
        return own.from_dict(config_dict, **kwargs)


def _require_module(path: str, own: Any) -> None:
    """Check the entry of a module that is smaller."""
    try:
        (out, in_), rank = own["shape"], own["rank"]
        sizes = all(type(size) is int and size > 0 for size in (out, in_, rank))
        fits = sizes and rank <= min(out, in_) and type(own["bias"]) is bool
        known = own["form"] in (PAIRS, PIVOTED, CHANNELS)
    except (KeyError, TypeError, ValueError):
        fits = known = False
    if not fits or not known:
        raise LowrankError(f"config.json: {NOTE}.modules: {path}: {own} is no module: export again")


@functools.cache
def config_class(base_type: str, model_class: str) -> Any:
    """Return the class of configurations of the low-rank form of a class of models.

    It exists once: transformers finds a model by the class of its configuration.

    Raises
    ------
    LowrankError
        If the installed transformers does not know the model.
    """
    try:
        base = CONFIG_MAPPING[base_type]
    except KeyError:
        raise LowrankError(
            f"config.json: {BASE_TYPE}: transformers knows no {base_type!r}: install a newer one"
        ) from None
    name = f"LowRank{model_class}Config"
    own = {"model_type": MODEL_TYPE, "__module__": __name__, "__doc__": base.__doc__}
    made = globals()[name] = type(base)(name, (base,), own)  # pickle looks it up here
    for follow in _FOLLOWING:
        follow(made, base, model_class)
    _MADE.append((made, base, model_class))
    return made


_MADE: list[tuple[Any, Any, str]] = []
_FOLLOWING: list[Callable[[Any, Any, str], Any]] = []


def follow_classes(follow: Callable[[Any, Any, str], Any]) -> None:
    """Have a function called with each class of configurations, those that are there and new ones.

    Parameters
    ----------
    follow
        It gets the class, that of the dense form's configurations, and the name of the model's.
    """
    _FOLLOWING.append(follow)
    for own in _MADE:
        follow(*own)
