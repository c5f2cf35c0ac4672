"""Share the hidden states of undecomposed layers among the jobs of a run.

Up to its first decomposed layer, every configuration computes what the dense model computes. The
first job that does so keeps the hidden states that enter each layer, and later jobs that ask the
same questions start at the deepest layer they have in common. The states are those of the very
same forward passes, so scores do not change by a bit; they live in a folder of the run, are
complete or absent, and are never an input of a rule: without them a job computes all its layers.

Shape suffixes: ``B`` rows, ``T`` tokens in a row, ``M`` hidden size.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

__all__ = ["VARIABLE", "SharedStates", "StatesGoneError", "StatesOfRun", "shared_states", "tail"]

logger = logging.getLogger(__name__)

VARIABLE = "LOWRANK_SHARED_STATES"
"""The folder in which the jobs of a run share hidden states; unset, they do not."""

MOST_BYTES = 2**30
"""Most bytes that the states of one model and benchmark may take."""

_STATES = "states"


class StatesGoneError(Exception):
    """Shared states cannot be read any more: someone removed them."""


def shared_states(model_key: Sequence[object], layers: int, unchanged: int) -> SharedStates | None:
    """Return what the jobs of this run share, if they do.

    Parameters
    ----------
    model_key
        What tells the dense model's numbers from others: files, number type, threads.
    layers
        How many layers the dense model has.
    unchanged
        How many leading layers of this configuration are the dense model's.
    """
    folder = os.environ.get(VARIABLE)
    if not folder or "SLURM_JOB_ID" in os.environ:
        return None
    return SharedStates(Path(folder), model_key, layers, unchanged)


class SharedStates:
    """The hidden states of one dense model, for a configuration that changes its later layers.

    Parameters
    ----------
    folder
        Where the jobs of a run share.
    model_key
        What tells the dense model's numbers from others.
    layers
        How many layers the dense model has.
    unchanged
        How many leading layers of this configuration are the dense model's.
    most_bytes
        Most bytes that the states of one plan may take; evenly spread layers are kept if not all
        fit.
    """

    def __init__(
        self,
        folder: Path,
        model_key: Sequence[object],
        layers: int,
        unchanged: int,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._folder = Path(folder) / _digest(repr(tuple(model_key)))
        # The last layer's output is the dense model's own result: nothing starts after it.
        self._layers, self._deepest = layers, min(unchanged, layers - 1)
        self._most_bytes = most_bytes

    @contextlib.contextmanager
    def run(self, model: PreTrainedModel, plan_key: object, tokens: int) -> Iterator[StatesOfRun]:
        """Give the states of one plan of passes; keep what was computed if the block succeeds.

        Parameters
        ----------
        model
            The configuration's model.
        plan_key
            What tells the plan from others: every token of every pass in order.
        tokens
            Tokens in all passes together, padding included.
        """
        folder = self._folder / _digest(repr(plan_key))
        bytes_a_layer = max(1, tokens * model.config.hidden_size * model.dtype.itemsize)
        kept = [
            layer
            for layer in _spread(self._layers - 1, self._most_bytes // bytes_a_layer)
            if layer <= self._deepest
        ]
        start = max((layer for layer in kept if (folder / str(layer)).is_dir()), default=0)
        present = len(model.base_model.layers)  # fewer than the dense model's if some are dropped
        wanted = [layer for layer in kept if start < layer < present]
        workspace = _make_workspace(folder, len(wanted) * bytes_a_layer) if wanted else None
        states = StatesOfRun(model, folder, start, wanted if workspace else [], workspace)
        try:
            yield states
            states.commit()
        finally:
            states.close()
            if workspace is not None:
                shutil.rmtree(workspace, ignore_errors=True)


class StatesOfRun:
    """The states of one plan of passes, which run in the same order in every job.

    Parameters
    ----------
    model
        The configuration's model.
    folder
        Where the layers' states are, one folder a layer.
    start
        How many leading layers need not be computed.
    wanted
        Layers (how many are behind) to keep the states of.
    workspace
        Where they are kept until all passes are done; None keeps none.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        folder: Path,
        start: int,
        wanted: Sequence[int],
        workspace: Path | None,
    ) -> None:
        self.start = start
        self.body = tail(model.base_model, start) if start else model.base_model
        self._folder, self._workspace, self._wanted = folder, workspace, list(wanted)
        self._number = 0
        self._failed = False
        layers = model.base_model.layers
        self._hooks = [
            layers[layer].register_forward_pre_hook(self._keeper(layer)) for layer in self._wanted
        ]

    def next_pass(self) -> torch.Tensor | None:
        """Return the states hidden_BTM that the next pass starts with; None for its tokens.

        Raises
        ------
        StatesGoneError
            If they were there when the run began, and are not any more.
        """
        self._number += 1
        if not self.start:
            return None
        try:
            return load_file(self._folder / str(self.start) / self._name)[_STATES]
        except (OSError, SafetensorError) as error:
            raise StatesGoneError(f"shared hidden states cannot be read: {error}") from None

    @property
    def _name(self) -> str:
        return f"{self._number:06d}.safetensors"

    def _keeper(self, layer: int):
        def keep(_: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
            if self._failed or self._workspace is None:
                return
            path = self._workspace / str(layer) / self._name
            try:
                path.parent.mkdir(exist_ok=True)
                save_file({_STATES: arguments[0].detach().contiguous()}, path)
            except OSError as error:  # sharing is no duty: the disk may be full
                logger.warning("Hidden states are not shared: %s", error)
                self._failed = True

        return keep

    def commit(self) -> None:
        """Let other jobs see the states; whoever is first wins."""
        if self._failed or self._workspace is None:
            return
        for layer in self._wanted:
            with contextlib.suppress(OSError):
                (self._workspace / str(layer)).rename(self._folder / str(layer))

    def close(self) -> None:
        """Leave the model as it was."""
        for hook in self._hooks:
            hook.remove()


def tail(body: nn.Module, start: int) -> nn.Module:
    """Return a decoder without its first `start` layers; it takes their output as embeddings.

    The layers are shared with `body`, and keep their indices in a cache of keys and values.
    """
    made = copy.copy(body)
    made._modules = dict(body._modules)
    made.layers = body.layers[start:]
    made.config = copy.copy(body.config)
    if getattr(body.config, "layer_types", None):
        made.config.layer_types = body.config.layer_types[start:]
    made.config.num_hidden_layers = len(made.layers)
    return made


def _spread(deepest: int, count: int) -> list[int]:
    """Return at most `count` of the layers 1 to `deepest`, evenly spread."""
    if count >= deepest:
        return list(range(1, deepest + 1))
    return sorted({round((k + 1) * (deepest + 1) / (count + 1)) for k in range(count)})


def _make_workspace(folder: Path, needed: int) -> Path | None:
    """Return a new folder beside the states, or None where they would fill the disk."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < 4 * needed:
            return None
        return Path(tempfile.mkdtemp(prefix=".", dir=folder))
    except OSError:
        return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
