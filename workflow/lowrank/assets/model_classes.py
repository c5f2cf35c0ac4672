"""Which class of transformers a configuration is loaded as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    PreTrainedModel,
)

from lowrank.space.architecture import Architecture

AUTO_CLASSES: Mapping[str, Any] = {
    "causal": AutoModelForCausalLM,
    "encoder": AutoModel,
    "question_answering": AutoModelForQuestionAnswering,
}
"""From the task of an architecture to the class that loads it."""


def auto_class(config: Mapping[str, Any]) -> Any:
    """Return the Auto class that loads a Hugging Face configuration.

    Raises
    ------
    LowrankError
        If the architecture is not supported.
    """
    return AUTO_CLASSES[Architecture.from_config(config).task]


def model_from_config(config: Mapping[str, Any], **options: Any) -> PreTrainedModel:
    """Return a model of a configuration with weights from its initialiser.

    Parameters
    ----------
    config
        A Hugging Face configuration, `model_type` included. Nothing is downloaded.
    **options
        What the Auto class's `from_config` takes, e.g. `dtype`.
    """
    fields = {key: value for key, value in config.items() if key != "model_type"}
    if fields.pop("add_pooling_layer", True) is False:
        options["add_pooling_layer"] = False
    made = AutoConfig.for_model(config["model_type"], **fields)
    return auto_class(config).from_config(made, trust_remote_code=False, **options)
