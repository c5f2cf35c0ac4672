"""A model walked layer by layer over a calibration set, with one layer's weights in memory.

Shape suffixes: ``S`` samples, ``T`` tokens of a sample, ``D`` hidden size, ``I`` inputs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import AutoConfig, AutoModel, PreTrainedConfig

from lowrank.assets.weights import read_parameters
from lowrank.base.errors import LowrankError
from lowrank.base.files import atomic_path
from lowrank.decompose.loading import DTYPES
from lowrank.decompose.moments import Moments, RunningMoments, moments_file, write_moments
from lowrank.space.architecture import Architecture

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOKENS_AT_ONCE = 4096
"""Tokens that go through a layer together."""

Given = tuple[tuple[Any, ...], dict[str, Any]]
"""What a layer is called with beside hidden states: by position, and by name."""


class _CaughtError(Exception):
    pass


class _Catcher(nn.Module):
    """Stands in for a layer, keeps what it is called with, and changes nothing."""

    def __init__(self, is_last: bool) -> None:
        super().__init__()
        self._is_last = is_last
        self.given: tuple[Tensor, Given] | None = None

    def forward(self, hidden_BTD: Tensor, *given: Any, **named: Any) -> Tensor:
        self.given = hidden_BTD, (given, named)
        if self._is_last:
            raise _CaughtError
        return hidden_BTD


class Walk:
    """A model that is walked from its first layer to its last.

    A layer is loaded, asked what goes into its modules, changed if one likes, and advanced
    through; then it is forgotten. Hidden states of all samples stay in memory.

    Parameters
    ----------
    directory
        A Hugging Face directory with safetensors.
    architecture
        The model's architecture.
    tokens_ST
        The calibration set: whole windows, without padding.
    dtype
        The number type of weights and hidden states.
    device
        Where to compute.

    Raises
    ------
    LowrankError
        If a weight is missing, misshapen or not finite.
    """

    def __init__(
        self,
        directory: str | Path,
        architecture: Architecture,
        tokens_ST: NDArray,
        dtype: str = "float32",
        device: str = "cpu",
    ) -> None:
        self._directory, self._architecture = directory, architecture
        self._dtype, self._device = DTYPES[dtype], device
        self._at_once = max(1, TOKENS_AT_ONCE // tokens_ST.shape[1])
        config, self._kinds = small_config(directory)
        options = {"add_pooling_layer": False} if architecture.task != "causal" else {}
        base = AutoModel.from_config(config, dtype=self._dtype, **options).eval()
        path = architecture.family.layer_path
        inner = path.removeprefix(f"{base.base_model_prefix}.")
        self._prefix = path.removesuffix(inner)
        layers = base.get_submodule(inner)
        self._config, self._class = config, type(layers[0])
        catchers = [_Catcher(kind == max(self._kinds)) for kind in range(len(layers))]
        base.set_submodule(inner, nn.ModuleList(catchers))
        self._read_outside(base, inner)
        self.layer = 0
        self.module: nn.Module = nn.Module()
        self._hidden: list[Tensor] = []
        self._given: list[list[Given]] = []  # by batch, then by kind of layer
        base.to(device)
        with torch.no_grad():
            for start in range(0, len(tokens_ST), self._at_once):
                batch = torch.from_numpy(tokens_ST[start : start + self._at_once].astype("int64"))
                hidden, given = _caught(base, catchers, batch.to(device))
                self._hidden.append(hidden)
                self._given.append(given)

    def _read_outside(self, base: nn.Module, inner: str) -> None:
        """Fill what stands before the layers; what stands behind them is never run."""
        wanted = {
            f"{self._prefix}{name}": parameter
            for name, parameter in base.named_parameters()
            if not name.startswith(f"{inner}.") and not name.startswith("norm.")
        }
        read_parameters(self._directory, wanted)

    def load(self, layer: int) -> nn.Module:
        """Load a layer, from 1, and return it: the next one that is advanced through."""
        if layer != self.layer + 1:
            raise ValueError(f"layer {layer} does not follow layer {self.layer}")
        self.layer, self.module = layer, self.read(layer)
        return self.module

    def read(self, layer: int) -> nn.Module:
        """Return any layer, from 1, with its weights; the walk stays where it is."""
        with torch.device("meta"):
            module = self._class(self._config, layer_idx=self._kinds[layer - 1])
        module = module.to_empty(device="cpu").to(self._dtype)
        if any(True for _ in module.buffers()):
            raise LowrankError(f"a layer of {type(module).__name__} has buffers: it is not walked")
        prefix = f"{self._architecture.family.layer_path}.{layer - 1}."
        named = {f"{prefix}{name}": own for name, own in module.named_parameters()}
        read_parameters(self._directory, named)
        return module.eval().requires_grad_(False).to(self._device)

    @property
    def hidden(self) -> tuple[Tensor, ...]:
        """What goes into the next layer, a batch of samples at a time, (S, T, D) each."""
        return tuple(self._hidden)

    def through(self, module: nn.Module, hidden_STD: Tensor, batch: int, layer: int) -> Tensor:
        """Return what a layer, from 1, makes of the hidden states of a batch, from 0, (S, T, D)."""
        given, named = self._given[batch][self._kinds[layer - 1]]
        after = module(hidden_STD, *given, **named)
        return after[0] if isinstance(after, tuple) else after

    def submodule_path(self, tensor: str) -> str:
        """Return the path of a tensor's module below its layer."""
        return self._architecture.family.tensors[tensor]

    def inputs_of(self, stages: Iterable[Sequence[str]]) -> dict[str, Moments]:
        """Return the moments of what some stages of the loaded layer read, by first tensor.

        The layer is run no further than to the last of them.
        """
        running = self._running(stages)
        with self._watched(running, stop_at=list(running)[-1]):
            for index in range(len(self._hidden)):
                with contextlib.suppress(_CaughtError):
                    self._output(index)
        return self._moments(running)

    def advance(self, stages: Iterable[Sequence[str]] = ()) -> tuple[float, dict[str, Moments]]:
        """Let the hidden states through the loaded layer.

        Parameters
        ----------
        stages
            Stages whose inputs are watched on the way.

        Returns
        -------
        The block influence of the layer, and what `inputs_of` returns.

        Raises
        ------
        LowrankError
            If a hidden state is not finite.
        """
        running = self._running(stages)
        cosines, tokens = 0.0, 0
        with self._watched(running):
            for index, before_BTD in enumerate(self._hidden):
                after_BTD = self._output(index)
                if not bool(torch.isfinite(after_BTD).all()):
                    raise LowrankError(
                        f"layer {self.layer} leaves hidden states that are not finite"
                    )
                cosine_BT = nn.functional.cosine_similarity(
                    before_BTD.double(), after_BTD.double(), dim=-1
                )
                cosines, tokens = cosines + float(cosine_BT.sum()), tokens + cosine_BT.numel()
                self._hidden[index] = after_BTD
        return 1.0 - cosines / tokens, self._moments(running)

    def _running(self, stages: Iterable[Sequence[str]]) -> dict[str, RunningMoments]:
        firsts = [stage[0] for stage in stages]
        return {tensor: RunningMoments(self._architecture.shape(tensor)[1]) for tensor in firsts}

    def _moments(self, running: Mapping[str, RunningMoments]) -> dict[str, Moments]:
        return {
            tensor: own.moments(f"layer {self.layer}, tensor {tensor}")
            for tensor, own in running.items()
        }

    @contextlib.contextmanager
    def _watched(
        self, running: Mapping[str, RunningMoments], stop_at: str | None = None
    ) -> Iterator[None]:
        """Count what goes into modules of the loaded layer, by tensor, for the time being."""

        def watch(tensor: str) -> RemovableHandle:
            def see(module: nn.Module, given: tuple[Tensor, ...]) -> None:
                x_NI = given[0].reshape(-1, given[0].shape[-1])
                running[tensor].add(x_NI.double().cpu().numpy())
                if tensor == stop_at:
                    raise _CaughtError

            module = self.module.get_submodule(self.submodule_path(tensor))
            return module.register_forward_pre_hook(see)

        handles = [watch(tensor) for tensor in running]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @torch.no_grad()
    def _output(self, index: int) -> Tensor:
        """Return what the loaded layer makes of a batch."""
        return self.through(self.module, self._hidden[index], index, self.layer)


def small_config(directory: str | Path) -> tuple[PreTrainedConfig, list[int]]:
    """Return a model's configuration with one layer of each kind, which costs next to nothing.

    Layers differ in their attention's window, and with it in masks and rotary embeddings.

    Returns
    -------
    The configuration, and which of its layers, from 0, each layer of the model is like.
    """
    config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    types = getattr(config, "layer_types", None)
    kinds = list(dict.fromkeys(types or [""]))
    which = [kinds.index(own) for own in types or [""] * config.num_hidden_layers]
    config.num_hidden_layers = len(kinds)
    if types:
        config.layer_types = kinds
    return config, which


def _caught(
    base: nn.Module, catchers: Sequence[_Catcher], ids_BT: Tensor
) -> tuple[Tensor, list[Given]]:
    """Return what goes into the first layer, and what layers of each kind are called with."""
    options = {"use_cache": False} if hasattr(base.config, "use_cache") else {}
    with contextlib.suppress(_CaughtError):
        base(input_ids=ids_BT, **options)
    caught = [own.given for own in catchers if own.given is not None]
    return caught[0][0], [given for _, given in caught]


def gather_moments(
    directory: str | Path,
    architecture: Architecture,
    tokens_ST: NDArray,
    output: str | Path,
    dtype: str = "float32",
    device: str = "cpu",
) -> None:
    """Write the moments of all inputs of a dense model, one file a layer.

    Parameters
    ----------
    directory, architecture, tokens_ST, dtype, device
        As `Walk` takes them.
    output
        The directory to write: `layer-1.safetensors` and so on.

    Raises
    ------
    LowrankError
        As `Walk` does; if an input is not finite.
    """
    walk = Walk(directory, architecture, tokens_ST, dtype, device)
    with atomic_path(output) as folder:
        folder.mkdir()
        for layer in range(1, architecture.layers + 1):
            walk.load(layer)
            influence, moments = walk.advance(architecture.family.stages)
            write_moments(folder / moments_file(layer), moments, layer, influence)
