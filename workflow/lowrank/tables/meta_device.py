"""Count a model's parameters on the meta device: modules without storage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lowrank.assets.model_classes import model_from_config


def parameter_counts(config: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of elements of each parameter by name, and of all under `""`.

    Parameters
    ----------
    config
        A Hugging Face configuration, `model_type` included. Nothing is downloaded.
    """
    with torch.device("meta"):
        model = model_from_config(config)
    counts = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return counts | {"": sum(counts.values())}
