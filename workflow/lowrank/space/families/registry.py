"""The families of architectures that are supported.

To add one, write a file beside this one, and name it in `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lowrank.base.errors import LowrankError
from lowrank.space.families import (
    bert,
    gemma2,
    gemma3,
    llama,
    mistral,
    phi3,
    qwen2,
    qwen3,
    roberta,
)
from lowrank.space.families.family import Family

FAMILIES: Mapping[str, Family] = {
    "bert": bert.FAMILY,
    "gemma2": gemma2.FAMILY,
    "gemma3_text": gemma3.FAMILY,
    "llama": llama.FAMILY,
    "mistral": mistral.FAMILY,
    "phi3": phi3.FAMILY,
    "qwen2": qwen2.FAMILY,
    "qwen3": qwen3.FAMILY,
    "roberta": roberta.FAMILY,
}
"""From `model_type` of a Hugging Face configuration to its family."""

FAMILY_NAMES = tuple(dict.fromkeys(family.name for family in FAMILIES.values()))
"""What a study may call its family."""


def family_of(config: Mapping[str, Any]) -> Family:
    """Return the family of a Hugging Face configuration.

    Raises
    ------
    LowrankError
        If it is of no family that is supported, or sets what its family's models cannot have.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise LowrankError(f"model_type {model_type!r} is not supported; known: {known}")
    family = FAMILIES[model_type]
    for key, reason in family.refused.items():
        if config.get(key):
            raise LowrankError(
                f"a {model_type} model with {key}={config[key]!r} is not supported: {reason}"
            )
    return family
