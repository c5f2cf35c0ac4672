"""What is scored of each request, the scores as they come in, and the answers they make."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from lowrank.evaluate.finite import NotFiniteError
from lowrank.evaluate.packed.head import score_tokens
from lowrank.evaluate.packed.tree import PrefixTree

__all__ = ["Request", "Results"]

logger = logging.getLogger(__name__)

Request = tuple[tuple[str, str] | None, list[int], list[int]]
"""The strings of a request (a key for lm-eval's cache), the tokens of its context and those of its
continuation."""


@dataclass(frozen=True)
class _Scored:
    """The scored tokens of one request.

    Attributes
    ----------
    first : int
        Depth of the token that predicts the first target.
    targets : list of int
        Tokens whose log-probability is wanted, one for each depth from `first` on.
    offset : int
        Place of the first result in the array of results.
    """

    first: int
    targets: list[int]
    offset: int


class Results:
    """The requests as a prefix tree of token sequences, and their scores as they come in.

    Requests with the same tokens are one member of the tree, split between context and
    continuation wherever they are.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The model, whose output head scores.
    requests : sequence of Request
        What is asked.
    max_length : int
        Most tokens that the model reads; a longer request is cut from the left, as by `HFLM`.

    Attributes
    ----------
    tree : PrefixTree
        The token sequences, each once.

    Raises
    ------
    ValueError
        If a request has no context, or a continuation that is empty or longer than `max_length`.
    """

    def __init__(
        self, model: PreTrainedModel, requests: Sequence[Request], max_length: int
    ) -> None:
        self._model = model
        sequences: list[list[int]] = []
        self._scored: list[_Scored] = []
        offset = 0
        for _, context, continuation in requests:
            tokens = _tokens_read(context, continuation, max_length)
            sequences.append(tokens)
            self._scored.append(_Scored(len(tokens) - len(continuation), continuation, offset))
            offset += len(continuation)
        self.tree = PrefixTree(sequences)
        self._requests: list[list[int]] = [[] for _ in self.tree.sequences]
        for request, member in enumerate(self.tree.index):
            self._requests[member].append(request)
        self._log_probabilities = np.full(offset, np.nan, dtype=np.float32)
        self._greedy = np.zeros(offset, dtype=bool)

    @property
    def members(self) -> range:
        """Indices of the sequences of the tree."""
        return range(len(self._requests))

    def requests_of(self, member: int) -> list[int]:
        """Indices of the requests that a member answers."""
        return self._requests[member]

    @property
    def scored_tokens(self) -> list[list[tuple[int, list[int]]]]:
        """What is scored on each member: the place of the first target, and the targets."""
        return [[(one.first, one.targets) for one in self._of(member)] for member in self.members]

    def score(self, hidden_NM: torch.Tensor, paths: dict[int, np.ndarray], start: int) -> None:
        """Score what the tokens of one pass predict.

        Parameters
        ----------
        hidden_NM : torch.Tensor
            Hidden states of the pass, one for each token.
        paths : dict of int to numpy.ndarray
            For each member, the places of its tokens in `hidden_NM`, by depth from `start` on.
        start : int
            Depth of the first token of each path.

        Raises
        ------
        NotFiniteError
            If a log-probability is not finite; it says the requests that have one, by number.
        """
        places: list[np.ndarray] = []
        targets: list[int] = []
        slots: list[np.ndarray] = []
        for member, path in paths.items():
            for scored in self._of(member):
                begin = max(scored.first, start)
                end = min(scored.first + len(scored.targets), start + len(path))
                if begin < end:
                    places.append(path[begin - start : end - start])
                    targets += scored.targets[begin - scored.first : end - scored.first]
                    slots.append(scored.offset - scored.first + np.arange(begin, end))
        if not places:
            return
        where = np.concatenate(slots)
        values, greedy = score_tokens(
            self._model, hidden_NM, np.concatenate(places), np.array(targets, dtype=np.int64)
        )
        if not np.isfinite(values).all():
            offsets = [scored.offset for scored in self._scored]
            found = np.searchsorted(offsets, where[~np.isfinite(values)], side="right") - 1
            raise NotFiniteError(str(self._model.dtype), np.unique(found).tolist())
        self._log_probabilities[where], self._greedy[where] = values, greedy

    def answers(self, member: int) -> list[tuple[float, bool]]:
        """Log-likelihood and greedy flag of each request of a member that is computed."""
        return [self._answer(scored) for scored in self._of(member)]

    def _of(self, member: int) -> list[_Scored]:
        return [self._scored[request] for request in self._requests[member]]

    def _answer(self, scored: _Scored) -> tuple[float, bool]:
        slots = slice(scored.offset, scored.offset + len(scored.targets))
        return (
            float(self._log_probabilities[slots].sum(dtype=np.float64)),
            bool(self._greedy[slots].all()),
        )


def _tokens_read(context: list[int], continuation: list[int], max_length: int) -> list[int]:
    """Return the tokens that the model reads of a request: all but the last, cut from the left."""
    if not context or not 0 < len(continuation) <= max_length:
        raise ValueError(
            f"A request needs a context and a continuation of 1 to {max_length} "
            f"tokens; these have {len(context)} and {len(continuation)}."
        )
    # The same truncation from the left as in HFLM.
    tokens = (context + continuation)[-(max_length + 1) :][:-1]
    if len(tokens) < len(context) + len(continuation) - 1:
        logger.warning(
            "A request of %d tokens is cut from the left to the maximum length, %d.",
            len(context) + len(continuation),
            max_length,
        )
    return tokens
