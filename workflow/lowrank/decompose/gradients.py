"""A model walked to its loss and back, with one layer's weights in memory.

The walk leaves what goes into each layer in a file. From the loss, the layers are taken in reverse
order: each is run again on what went into it, and only then keeps what its gradients need. Weights
have no gradients: those of modules' inputs give the same sums (`lowrank.decompose.salience`).

Shape suffixes: ``S`` samples, ``T`` tokens of a sample, ``D`` hidden size, ``P`` predictions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import AutoModelForCausalLM

from lowrank.assets.weights import read_parameters
from lowrank.base.errors import LowrankError
from lowrank.base.files import atomic_path
from lowrank.decompose.moments import moments_file
from lowrank.decompose.salience import write_saliences
from lowrank.decompose.walk import Walk, small_config
from lowrank.running.soft_cap import SoftCap
from lowrank.space.architecture import Architecture

if TYPE_CHECKING:
    from numpy.typing import NDArray

PREDICTIONS_AT_ONCE = 512
"""Predictions whose logits are in memory together."""


def gather_gradients(
    directory: str | Path,
    architecture: Architecture,
    tokens_ST: NDArray,
    output: str | Path,
    device: str = "cpu",
) -> None:
    """Write the saliences of what a dense model's last tensors of groups read, one file a layer.

    These are the output projections of attention and of the MLP. Everything is computed in float32,
    and added up in float64.

    In memory are one layer or the head, the hidden states of all samples at one layer and their
    gradients (8 · S · T · D bytes), and what one layer keeps for the gradients of
    `lowrank.decompose.walk.TOKENS_AT_ONCE` tokens. On the disk, beside `output` and until it is
    there, are the inputs of all layers: 4 · S · T · D bytes a layer.

    Parameters
    ----------
    directory, architecture, tokens_ST, device
        As `lowrank.decompose.walk.Walk` takes them; a causal language model.
    output
        The directory to write: `layer-1.safetensors` and so on.

    Raises
    ------
    LowrankError
        As `Walk` does; if the model is no causal language model, a sample has no second token, or
        a salience is not finite.
    """
    if architecture.task != "causal":
        raise LowrankError(f"a model whose task is {architecture.task!r} predicts no next token")
    if tokens_ST.shape[1] < 2:
        raise LowrankError("samples of one token have no next token to be predicted")
    lasts = [group[-1] for group in _groups(architecture)]
    walk = Walk(directory, architecture, tokens_ST, device=device)
    with atomic_path(output) as folder:
        folder.mkdir()
        layers = range(1, architecture.layers + 1)
        kept = {layer: folder / f"inputs-{layer}.safetensors" for layer in layers}
        for layer in layers:
            _write_states(kept[layer], walk.hidden)
            walk.load(layer)
            walk.advance()
        head = _head(directory, architecture, device)
        gradients = _gradients_of_loss(head, walk.hidden, tokens_ST)
        del head
        for layer in reversed(layers):
            saliences = _back_through(walk, layer, kept[layer], gradients, lasts)
            write_saliences(folder / moments_file(layer), saliences, layer)
            kept[layer].unlink()


def _groups(architecture: Architecture) -> Iterable[tuple[str, ...]]:
    return architecture.family.groups["attention"], architecture.family.groups["mlp"]


def _write_states(path: Path, hidden: Iterable[Tensor]) -> None:
    save_file({str(batch): own.cpu().contiguous() for batch, own in enumerate(hidden)}, path)


def _head(directory: str | Path, architecture: Architecture, device: str) -> nn.Module:
    """Return what stands behind the layers: the last norm, the head and the cap on logits."""
    config, _ = small_config(directory)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    base = architecture.family.layer_path.rpartition(".")[0]
    norm, out = model.get_submodule(f"{base}.norm"), model.get_output_embeddings()
    head = nn.Sequential(norm, out, SoftCap(config))
    head = head.to_empty(device="cpu")
    tied = f"{base}.embed_tokens" if config.tie_word_embeddings else "lm_head"
    names = {"0": f"{base}.norm", "1": tied}
    wanted = {
        names[name.partition(".")[0]] + "." + name.partition(".")[2]: parameter
        for name, parameter in head.named_parameters()
    }
    read_parameters(directory, wanted)
    return head.eval().requires_grad_(False).to(device)


def _gradients_of_loss(
    head: nn.Module, hidden: Sequence[Tensor], tokens_ST: NDArray
) -> list[Tensor]:
    """Return the gradients of the mean loss by the last layer's outputs, (S, T, D) a batch."""
    made, start = [], 0
    for hidden_STD in hidden:
        rows_ST = tokens_ST[start : start + len(hidden_STD)].astype("int64")
        start += len(hidden_STD)
        next_P = torch.from_numpy(rows_ST[:, 1:]).to(hidden_STD.device).reshape(-1)
        before_PD = hidden_STD[:, :-1].reshape(len(next_P), -1)
        parts = []
        for x_PD, expected_P in zip(
            before_PD.split(PREDICTIONS_AT_ONCE), next_P.split(PREDICTIONS_AT_ONCE), strict=True
        ):
            x_PD = x_PD.detach().requires_grad_()
            loss = nn.functional.cross_entropy(head(x_PD), expected_P, reduction="sum")
            parts.append(torch.autograd.grad(loss, x_PD)[0])
        gradient_STD = torch.zeros_like(hidden_STD)  # a sample's last token predicts nothing
        gradient_STD[:, :-1] = torch.cat(parts).view_as(hidden_STD[:, :-1])
        made.append(gradient_STD / tokens_ST[:, 1:].size)
    return made


def _back_through(
    walk: Walk, layer: int, kept: Path, gradients: list[Tensor], tensors: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """Return saliences of a layer's tensors; gradients by its outputs become those by its inputs.

    Parameters
    ----------
    walk
        The walk, behind the last layer.
    layer
        The layer, from 1.
    kept
        The file of what goes into it.
    gradients
        Of each batch; they are replaced.
    tensors
        The tensors.
    """
    module = walk.read(layer)
    read: dict[str, Tensor] = {}

    def watch(tensor: str) -> RemovableHandle:
        def see(module: nn.Module, given: tuple[Any, ...]) -> None:
            read[tensor] = given[0]

        return module.get_submodule(walk.submodule_path(tensor)).register_forward_pre_hook(see)

    for tensor in tensors:
        watch(tensor)
    sums: dict[str, NDArray[np.float64]] = {}
    with safe_open(kept, framework="pt") as states:
        for batch, gradient_STD in enumerate(gradients):
            x_STD = states.get_tensor(str(batch)).to(gradient_STD.device).requires_grad_()
            after_STD = walk.through(module, x_STD, batch, layer)
            inputs = [x_STD, *(read[tensor] for tensor in tensors)]
            gradients[batch], *own = torch.autograd.grad(after_STD, inputs, gradient_STD)
            for tensor, by_input in zip(tensors, own, strict=True):
                products = read[tensor].detach().double() * by_input.double()
                salience_I = products.flatten(0, -2).sum(dim=0).cpu().numpy()
                sums[tensor] = sums.get(tensor, 0.0) + salience_I
    return sums
