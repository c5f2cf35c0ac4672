"""Count a model's parameters on the meta device: modules without storage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM


def parameter_counts(config: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of elements of each parameter by name, and of all under `""`.

    Parameters
    ----------
    config
        A Hugging Face configuration, `model_type` included. Nothing is downloaded.
    """
    fields = {key: value for key, value in config.items() if key != "model_type"}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(config["model_type"], **fields)
        )
    counts = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return counts | {"": sum(counts.values())}
