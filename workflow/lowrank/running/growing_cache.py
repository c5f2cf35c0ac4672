"""Keys and values of a decoder in buffers that never copy what they hold.

Shape suffixes: ``B`` rows, ``K`` keys so far (those of a prefix first), ``T`` new tokens, ``H``
attention heads of the keys, ``D`` size of a head.
"""

from __future__ import annotations

import torch
from transformers.cache_utils import DynamicLayer


class GrowingLayer(DynamicLayer):
    """Keys and values in a buffer of fixed capacity, so that a step does not copy what is there.

    Parameters
    ----------
    rows : int
        Number of rows.
    capacity : int
        Most keys in a row, the prefix included.
    prefix : tuple of torch.Tensor, optional
        Keys and values (1, H, K, D) that every row starts with.
    """

    def __init__(
        self,
        rows: int,
        capacity: int,
        prefix: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        self._rows, self._capacity, self._length = rows, capacity, 0
        if prefix is not None:
            self.update(*(states.expand(rows, -1, -1, -1) for states in prefix))

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append states (B, H, T, D); return all states so far, (B, H, K, D), as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            shape = (self._rows, key_states.shape[1], self._capacity)
            self.keys = key_states.new_empty(*shape, key_states.shape[3])
            self.values = value_states.new_empty(*shape, value_states.shape[3])
        end = self._length + key_states.shape[2]
        self.keys[:, :, self._length : end] = key_states
        self.values[:, :, self._length : end] = value_states
        self._length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        """Number of keys in a row so far."""
        return self._length

    def rewind(self, length: int) -> None:
        """Forget all keys of a row after the first `length`; the buffer stays."""
        self._length = min(length, self._length)

    def keep_rows(self, rows: torch.Tensor) -> None:
        """Drop all rows but those with the given indices."""
        self._rows = len(rows)
        if self.is_initialized:
            self.keys = self.keys.index_select(0, rows)
            self.values = self.values.index_select(0, rows)
