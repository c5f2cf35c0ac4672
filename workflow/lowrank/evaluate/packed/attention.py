"""Forward passes over prefix trees: inputs, masks and the keys and values of shared prefixes.

Only the public forward interface of transformers is used: a 4D additive attention mask, explicit
position ids and a cache object.

Shape suffixes: ``B`` rows, ``T`` tokens in a row, ``K`` keys (those of the shared prefix, then
those of the row), ``H`` attention heads of the keys, ``D`` size of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from lowrank.evaluate.packed.tree import PrefixTree, Row
from lowrank.running.growing_cache import GrowingLayer

__all__ = [
    "PrefixStates",
    "SharedPrefixLayer",
    "TreeBatch",
    "additive_mask",
    "build_tree_batch",
    "causal_visibility",
    "extendable_cache",
    "final_hidden_states",
    "growing_cache",
    "hidden_states",
    "prefix_states",
    "shared_prefix_cache",
]

PrefixStates = list[tuple[torch.Tensor, torch.Tensor] | None]
"""Keys and values (1, H, K, D) of a prefix by layer index; None where no layer has that index."""


class SharedPrefixLayer(DynamicLayer):
    """Keys and values of one prefix that every row of a batch continues; it never grows.

    Parameters
    ----------
    keys_1HKD, values_1HKD : torch.Tensor
        States of the prefix.
    """

    def __init__(self, keys_1HKD: torch.Tensor, values_1HKD: torch.Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys_1HKD, values_1HKD)
        self.keys, self.values = keys_1HKD, values_1HKD

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Put the prefix before the new states (B, H, T, D) of every row, and forget the latter."""
        rows = key_states.shape[0]
        return (
            torch.cat([self.keys.expand(rows, -1, -1, -1), key_states], dim=-2),
            torch.cat([self.values.expand(rows, -1, -1, -1), value_states], dim=-2),
        )


def prefix_states(cache: Cache) -> PrefixStates:
    """Take the keys and values out of a cache of one row."""
    return [
        (layer.keys, layer.values) if layer.get_seq_length() else None for layer in cache.layers
    ]


def extendable_cache(states: PrefixStates | None) -> Cache:
    """A cache of one row that starts with a prefix and keeps what is added."""
    cache = DynamicCache()
    for layer, pair in enumerate(states or ()):
        if pair is not None:
            cache.update(*pair, layer)
    return cache


def shared_prefix_cache(states: PrefixStates) -> Cache:
    """A cache in which every row of a batch continues the same prefix."""
    return Cache(
        layers=[DynamicLayer() if pair is None else SharedPrefixLayer(*pair) for pair in states]
    )


def growing_cache(states: PrefixStates | None, rows: int, capacity: int) -> Cache:
    """A cache in which every row starts with the same prefix and keeps what is added.

    Parameters
    ----------
    states : PrefixStates or None
        The prefix, if any.
    rows : int
        Number of rows.
    capacity : int
        Most keys in a row, the prefix included.
    """
    if states is None:
        return Cache(layer_class_to_replicate=partial(GrowingLayer, rows, capacity))
    return Cache(layers=[GrowingLayer(rows, capacity, pair) for pair in states])


@torch.no_grad()
def final_hidden_states(
    body: torch.nn.Module,
    input_ids_BT: np.ndarray | torch.Tensor,
    position_ids_BT: np.ndarray | torch.Tensor,
    mask_B1TK: torch.Tensor,
    cache: Cache | None = None,
) -> torch.Tensor:
    """Run the body of a model.

    Parameters
    ----------
    body : torch.nn.Module
        A decoder: the base model of a causal language model.
    input_ids_BT, position_ids_BT : array of int64
        Tokens and their positions.
    mask_B1TK : torch.Tensor
        Additive attention mask.
    cache : transformers.Cache, optional
        Keys and values of the tokens before; what becomes of the new ones is up to the cache.

    Returns
    -------
    torch.Tensor, shape (B, T, hidden size)
        What the output embeddings turn into logits.
    """
    device = mask_B1TK.device
    return body(
        input_ids=torch.as_tensor(input_ids_BT).to(device),
        attention_mask=mask_B1TK,
        position_ids=torch.as_tensor(position_ids_BT).to(device),
        past_key_values=cache,
        use_cache=cache is not None,
    ).last_hidden_state


def hidden_states(
    model: PreTrainedModel,
    input_ids_BT: np.ndarray,
    position_ids_BT: np.ndarray,
    visible_BTK: np.ndarray,
    cache: Cache | None = None,
) -> torch.Tensor:
    """Run one pass of a causal language model, all but its output head.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The model.
    input_ids_BT, position_ids_BT : numpy.ndarray of int64
        Tokens and their positions.
    visible_BTK : numpy.ndarray of bool
        Whether a query (T) may attend to a key (K).
    cache : transformers.Cache, optional
        Keys and values of the tokens before; what becomes of the new ones is up to the cache.

    Returns
    -------
    torch.Tensor, shape (B * T, hidden size)
        What the output embeddings turn into logits.
    """
    mask_B1TK = additive_mask(visible_BTK, model.dtype, model.device)
    return final_hidden_states(
        model.base_model, input_ids_BT, position_ids_BT, mask_B1TK, cache
    ).flatten(0, 1)


def additive_mask(
    visible: np.ndarray | torch.Tensor, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """Turn visibility into the additive mask that attention expects.

    Parameters
    ----------
    visible : array of bool, shape (B, T, K)
        Whether a query (T) may attend to a key (K).
    dtype : torch.dtype
        Type of the queries.
    device : torch.device
        Where the mask goes.

    Returns
    -------
    torch.Tensor, shape (B, 1, T, K)
        0 where visible, the lowest finite number elsewhere.
    """
    visible_BTK = torch.as_tensor(visible).to(device)
    mask_BTK = torch.zeros(visible_BTK.shape, dtype=dtype, device=device)
    return mask_BTK.masked_fill_(~visible_BTK, torch.finfo(dtype).min).unsqueeze(1)


def causal_visibility(tokens: int, prefix: int) -> np.ndarray:
    """Visibility (1, T, K) of one plain row of `tokens` after a prefix of `prefix` tokens."""
    return np.tri(tokens, prefix + tokens, prefix, dtype=bool)[None]


@dataclass(frozen=True)
class TreeBatch:
    """Inputs of one forward pass over rows of a prefix tree.

    Attributes
    ----------
    input_ids_BT : numpy.ndarray of int64
        Token ids; 0 in the padding.
    position_ids_BT : numpy.ndarray of int64
        Depth of each token in the tree, which is its position in its own sequence.
    visible_BTK : numpy.ndarray of bool
        A token sees the prefix, its ancestors and itself. Padding sees the prefix and itself.
    paths : dict of int to numpy.ndarray
        For each member, the places of its tokens in the flattened batch (row * T + column), by
        depth from the start of the row on.
    """

    input_ids_BT: np.ndarray
    position_ids_BT: np.ndarray
    visible_BTK: np.ndarray
    paths: dict[int, np.ndarray]


def build_tree_batch(tree: PrefixTree, rows: Sequence[Row], multiple: int = 1) -> TreeBatch:
    """Lay out rows of a prefix tree.

    Parameters
    ----------
    tree : PrefixTree
        The sequences.
    rows : sequence of Row
        Rows that start at the same depth.
    multiple : int
        The number of keys is rounded up to a multiple of this.

    Returns
    -------
    TreeBatch
        Inputs of the forward pass.

    Raises
    ------
    ValueError
        If the rows start at different depths.
    """
    start = rows[0].start
    if any(row.start != start for row in rows):
        raise ValueError("The rows of a batch must start at the same depth.")
    width = max(row.tokens for row in rows)
    width += -(start + width) % multiple
    ids = np.zeros((len(rows), width), dtype=np.int64)
    positions = np.zeros_like(ids)
    visible = np.zeros((len(rows), width, start + width), dtype=bool)
    visible[:, :, :start] = True
    visible[:, np.arange(width), start + np.arange(width)] = True
    paths: dict[int, np.ndarray] = {}
    for b, row in enumerate(rows):
        # Column of each token on the path to the current one, by depth from `start` on.
        path = np.empty(max(len(tree.sequences[k]) for k in row.members) - start, dtype=np.int64)
        column = 0
        for member, shared in zip(row.members, tree.shared_between(row.members), strict=True):
            tokens = tree.sequences[member]
            known = max(shared - start, 0)
            end = column + len(tokens) - start - known
            if end > column:
                path[known : len(tokens) - start] = np.arange(column, end)
                ids[b, column:end] = tokens[start + known :]
                positions[b, column:end] = np.arange(start + known, len(tokens))
                if known:
                    visible[b, column:end, start + path[:known]] = True
                visible[b, column:end, start + column : start + end] = np.tri(
                    end - column, dtype=bool
                )
                column = end
            paths[member] = b * width + path[: len(tokens) - start]
    return TreeBatch(ids, positions, visible, paths)
