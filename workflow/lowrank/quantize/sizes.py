"""Bytes of tensors and of models."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn


def tensor_bytes(tensors: Iterable[Tensor]) -> int:
    """Return the bytes that tensors hold together; what several of them share counts once."""
    storages = [tensor.untyped_storage() for tensor in tensors]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def weight_bytes(model: nn.Module) -> int:
    """Return the bytes of a model's parameters and buffers; tied ones count once."""
    return tensor_bytes((*model.parameters(), *model.buffers()))
