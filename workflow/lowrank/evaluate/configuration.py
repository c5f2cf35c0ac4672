"""One configuration while it is evaluated: its model, which is loaded once, and its answers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json
from lowrank.base.provenance import device_name
from lowrank.decompose.compressed_format import MANIFEST
from lowrank.decompose.loading import load_tokenizer
from lowrank.evaluate.store import AnswerStore, identity_of
from lowrank.quantize.stored import load_model


class Configuration:
    """A base model as one decomposition leaves it.

    Parameters
    ----------
    base, compressed
        Directories of the base model and of the compressed one.
    settings
        `dtype`, `device`, `scorer` and `batch_size`.
    answers
        The folder of all answers.

    Attributes
    ----------
    manifest
        That of the compressed model.
    settings
        As given.
    store
        Its answers.

    Raises
    ------
    LowrankError
        If the compressed model has no manifest.
    """

    def __init__(
        self,
        base: str | Path,
        compressed: str | Path,
        settings: Mapping[str, Any],
        answers: str | Path,
    ) -> None:
        self._base, self._compressed, self.settings = base, compressed, settings
        self.manifest: dict[str, Any] = read_json(Path(compressed) / MANIFEST)
        device = settings["device"]
        try:
            name, decomposition = self.manifest["model"], self.manifest["decomposition"]["name"]
            identity = identity_of(
                self.manifest, settings, torch.get_num_threads(), device_name(device)
            )
        except KeyError as error:
            raise LowrankError(f"{compressed}/{MANIFEST} lacks {error}: delete it") from None
        self.store = AnswerStore(Path(answers, name, decomposition), identity)

    @functools.cached_property
    def model(self) -> PreTrainedModel:
        """The model, on its device; loaded when first wanted."""
        settings = self.settings
        model, _ = load_model(self._base, self._compressed, settings["dtype"], settings["device"])
        return model

    @functools.cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of the base model."""
        return load_tokenizer(self._base)
