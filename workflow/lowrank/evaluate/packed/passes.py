"""Compute a prefix tree in packed passes, no more at once than memory allows.

Shape suffixes: ``B`` rows, ``T`` tokens in a row, ``K`` keys, ``N`` tokens of a pass, ``M`` hidden
size.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from transformers import Cache, PreTrainedModel

from lowrank.base.errors import is_out_of_memory
from lowrank.evaluate.packed.attention import (
    PrefixStates,
    build_tree_batch,
    causal_visibility,
    extendable_cache,
    hidden_states,
    prefix_states,
    shared_prefix_cache,
)
from lowrank.evaluate.packed.limits import cost_model
from lowrank.evaluate.packed.results import Results
from lowrank.evaluate.packed.tree import CostModel, Row, Segment

__all__ = ["Passes"]

logger = logging.getLogger(__name__)


class Passes:
    """The forward passes of one model.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal language model that can be scored in packed rows.
    batch_tokens : int, optional
        Tokens in one pass, padding included; see `lowrank.evaluate.packed.limits.cost_model`.
        Halved for good whenever memory runs out.
    """

    def __init__(self, model: PreTrainedModel, batch_tokens: int | None = None) -> None:
        self._model = model
        self._batch_tokens = batch_tokens
        self._cost: CostModel | None = None
        # GPU kernels want rows of the mask that are a multiple of 16 bytes long.
        self.key_multiple = 8 if model.device.type == "cuda" else 1

    @property
    def cost(self) -> CostModel:
        """Limits and costs of a forward pass on this device; measured when first asked for."""
        if self._cost is None:
            self._cost = cost_model(self._model, self._batch_tokens)
        return self._cost

    def run(self, results: Results) -> Iterator[list[int]]:
        """Compute all members of a tree; yield each batch once it is scored.

        Parameters
        ----------
        results : Results
            The tree, and where its scores go.
        """
        waiting = set(results.members)
        planned = list(results.members)
        while waiting:
            plan = results.tree.plan(self.cost, planned)
            try:
                for done in self._run_segment(plan, None, results, waiting):
                    waiting.difference_update(done)
                    yield done
            except (MemoryError, RuntimeError) as error:
                if self.cost.batch_tokens <= 1 or not is_out_of_memory(error):
                    raise
                self._cost = self.cost.halved()
                logger.warning("Out of memory: %d tokens in a pass now.", self.cost.batch_tokens)
            # Outside of the handler, which keeps the tensors of the failed pass alive.
            if waiting and self._model.device.type == "cuda":
                torch.cuda.empty_cache()
            planned = sorted(waiting)

    def _run_segment(
        self,
        segment: Segment,
        states: PrefixStates | None,
        results: Results,
        waiting: set[int],
    ) -> Iterator[list[int]]:
        """Compute a segment and those below it; yield each batch of members once it is done."""
        if waiting.isdisjoint(segment.members):
            return
        if segment.end > segment.start:
            states = self._run_path(segment.members, segment.start, segment.end, states, results)
        for rows in segment.batches:
            members = [member for row in rows for member in row.members]
            if not waiting.isdisjoint(members):
                self.run_batch(rows, states, results)
                yield members
        for child in segment.children:
            yield from self._run_segment(child, states, results, waiting)

    def _run_path(
        self,
        members: Sequence[int],
        start: int,
        end: int,
        states: PrefixStates | None,
        results: Results,
    ) -> PrefixStates:
        """Compute the tokens between two depths that members share, no more at once than fit.

        Returns
        -------
        Keys and values of all tokens up to `end`.
        """
        cache = extendable_cache(states)
        sequence = results.tree.sequences[members[0]]
        for begin in range(start, end, self.cost.batch_tokens):
            depths = np.arange(begin, min(begin + self.cost.batch_tokens, end))
            hidden_NM = self.hidden_states(
                np.array([sequence[begin : begin + len(depths)]]),
                depths[None],
                causal_visibility(len(depths), begin),
                cache,
            )
            results.score(hidden_NM, dict.fromkeys(members, depths - begin), begin)
        return prefix_states(cache)

    def run_batch(self, rows: list[Row], states: PrefixStates | None, results: Results) -> None:
        """Compute and score one batch of rows that continue a prefix, if there is one."""
        start = rows[0].start
        is_one_sequence = len(rows) == 1 and len(rows[0].members) == 1
        if is_one_sequence and rows[0].tokens > self.cost.batch_tokens:
            self._run_path(rows[0].members, start, start + rows[0].tokens, states, results)
            return
        batch = build_tree_batch(results.tree, rows, self.key_multiple)
        cache = None if states is None else shared_prefix_cache(states)
        hidden_NM = self.hidden_states(
            batch.input_ids_BT, batch.position_ids_BT, batch.visible_BTK, cache
        )
        results.score(hidden_NM, batch.paths, start)

    def hidden_states(
        self,
        input_ids_BT: np.ndarray,
        position_ids_BT: np.ndarray,
        visible_BTK: np.ndarray,
        cache: Cache | None = None,
    ) -> torch.Tensor:
        """Run one pass; return its final hidden states (B * T, hidden size)."""
        return hidden_states(self._model, input_ids_BT, position_ids_BT, visible_BTK, cache)
