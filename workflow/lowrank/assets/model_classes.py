"""Which class of transformers a configuration is loaded as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    PreTrainedConfig,
    PreTrainedModel,
)

from lowrank.base.errors import LowrankError, one_line
from lowrank.space.architecture import Architecture

AUTO_CLASSES: Mapping[str, Any] = {
    "causal": AutoModelForCausalLM,
    "encoder": AutoModel,
    "question_answering": AutoModelForQuestionAnswering,
}
"""From the task of an architecture to the class that loads it."""

CONSTRUCTOR_OPTIONS = ("add_pooling_layer",)
"""Keys of an architecture that transformers takes as arguments and leaves out of `config.json`."""


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

    Raises
    ------
    LowrankError
        If no model can be made of it.
    """
    if config.get("add_pooling_layer") is False:
        options["add_pooling_layer"] = False
    return auto_class(config).from_config(as_read(config), trust_remote_code=False, **options)


def as_read(config: Mapping[str, Any]) -> PreTrainedConfig:
    """Return a Hugging Face configuration as transformers reads it, with its defaults.

    Parameters
    ----------
    config
        The configuration, `model_type` included.

    Raises
    ------
    LowrankError
        If transformers does not take it.
    """
    left_out = ("model_type", *CONSTRUCTOR_OPTIONS)
    fields = {key: value for key, value in config.items() if key not in left_out}
    try:
        return AutoConfig.for_model(config["model_type"], **fields)
    except Exception as error:  # of kinds of its own, which derive from nothing else
        said = one_line(error)[:300]
        raise LowrankError(f"transformers does not take the configuration ({said})") from None
