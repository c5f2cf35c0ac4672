"""Share the common prefixes of many token sequences: what to compute once, and in which batches.

Distinct sequences in lexicographic order, together with the length of the prefix that each one
shares with its predecessor, are a prefix tree (trie) in flat form: a depth-first walk visits the
sequences in this order, and a run of neighbours is a subtree plus the path from the root to it.
Three decisions turn the tree into forward passes:

1. *Segments*: a prefix that is long and has much below it is computed once, on its own; its keys
   and values are then reused by everything below it.
2. *Rows*: what remains is cut into runs of neighbours. Within a row a shared token appears once;
   a prefix that a cut goes through is repeated on both sides of it.
3. *Batches*: rows of similar length are stacked, so that little is spent on padding.

Costs are in units of "one token through the linear layers of the model".

Nothing here needs torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

__all__ = ["CostModel", "PrefixTree", "Row", "Segment", "pack_rows"]


@dataclass(frozen=True)
class CostModel:
    """What a forward pass costs, in tokens.

    Attributes
    ----------
    batch_tokens : int
        Most tokens in one forward pass, padding included (a single longer row is still allowed).
    row_tokens : int
        Most tokens in one row (a single longer sequence is still allowed).
    pass_overhead : float
        Fixed cost of a forward pass: reading the weights, launching the kernels.
    attention : float
        Cost of one query attending to one key.
    cached_prefix : int
        Shortest prefix worth the keys and values of its own.
    """

    batch_tokens: int = 512
    row_tokens: int = 512
    pass_overhead: float = 32.0
    attention: float = 4e-4
    cached_prefix: int = 8

    def __post_init__(self) -> None:
        if min(self.batch_tokens, self.row_tokens, self.cached_prefix) < 1:
            raise ValueError("batch_tokens, row_tokens and cached_prefix must be at least 1.")

    def halved(self) -> CostModel:
        """The same model with half the tokens in a pass, as after running out of memory."""
        batch_tokens = max(1, self.batch_tokens // 2)
        return CostModel(
            batch_tokens,
            min(self.row_tokens, batch_tokens),
            self.pass_overhead,
            self.attention,
            self.cached_prefix,
        )


@dataclass(frozen=True)
class Row:
    """Neighbouring sequences that are computed in one row.

    Attributes
    ----------
    members : tuple of int
        Indices of the sequences, ascending.
    start : int
        Depth of the first token in the row; shallower tokens are in the keys and values given.
    tokens : int
        Length of the row.
    """

    members: tuple[int, ...]
    start: int
    tokens: int


@dataclass
class Segment:
    """A shared prefix, computed once, and everything that continues it.

    Attributes
    ----------
    members : tuple of int
        Indices of all sequences that start with this prefix, those of the children included.
    start, end : int
        Depths between which this prefix is computed; tokens before `start` belong to the
        enclosing segment. Both are 0 for the outermost one.
    batches : list of list of Row
        Rows that continue this prefix, one list for each forward pass.
    children : list of Segment
        Longer shared prefixes below this one.
    """

    members: tuple[int, ...]
    start: int
    end: int
    batches: list[list[Row]] = field(default_factory=list)
    children: list[Segment] = field(default_factory=list)

    @property
    def computed_tokens(self) -> int:
        """Tokens computed for this segment and those below it, without padding."""
        own = sum(row.tokens for batch in self.batches for row in batch)
        below = sum(child.computed_tokens for child in self.children)
        return self.end - self.start + own + below

    @property
    def padded_tokens(self) -> int:
        """Tokens computed for this segment and those below it, padding included."""
        own = sum(len(batch) * max(row.tokens for row in batch) for batch in self.batches)
        below = sum(child.padded_tokens for child in self.children)
        return self.end - self.start + own + below


def _common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the longest common prefix of two sequences."""
    length = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        length += 1
    return length


class PrefixTree:
    """Distinct token sequences with their shared prefixes.

    Parameters
    ----------
    sequences : sequence of sequence of int
        Token sequences, none of them empty; repeated ones are kept once.

    Attributes
    ----------
    sequences : list of tuple of int
        The distinct sequences in lexicographic order.
    index : list of int
        For each sequence given, its place in `sequences`.
    shared : list of int
        Length of the prefix that each sequence shares with its predecessor; 0 for the first.

    Raises
    ------
    ValueError
        If a sequence is empty.
    """

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        given = [tuple(sequence) for sequence in sequences]
        if not all(given):
            raise ValueError("A token sequence is empty.")
        self.sequences: list[tuple[int, ...]] = sorted(set(given))
        place = {sequence: k for k, sequence in enumerate(self.sequences)}
        self.index: list[int] = [place[sequence] for sequence in given]
        self.shared: list[int] = [0] * len(self.sequences)
        for k in range(1, len(self.sequences)):
            self.shared[k] = _common_prefix(self.sequences[k - 1], self.sequences[k])

    def shared_between(self, members: Sequence[int]) -> list[int]:
        """Length of the prefix that each member shares with the member before it.

        Parameters
        ----------
        members : sequence of int
            Indices into `sequences`, ascending, not necessarily neighbours.

        Returns
        -------
        list of int
            One length for each member; 0 for the first.
        """
        shared = [0] * len(members)
        for k in range(1, len(members)):
            before, here = members[k - 1], members[k]
            # The prefix shared across a gap is the shortest one shared within it.
            shared[k] = (
                self.shared[here] if here == before + 1 else min(self.shared[before + 1 : here + 1])
            )
        return shared

    def plan(self, cost: CostModel, members: Sequence[int] | None = None) -> Segment:
        """Choose segments, rows and batches that compute every member at low cost.

        Parameters
        ----------
        cost : CostModel
            Limits and costs of a forward pass.
        members : sequence of int, optional
            Indices into `sequences`, ascending; all of them by default.

        Returns
        -------
        Segment
            The outermost segment, with an empty prefix.
        """
        if members is None:
            members = range(len(self.sequences))
        return self._solve(list(members), 0, 0, cost)[1]

    def shared_prefixes(self, minimum: int) -> list[tuple[int, list[int]]]:
        """Group the sequences by a long prefix that all of a group share.

        Parameters
        ----------
        minimum : int
            Shortest prefix to group by, in tokens.

        Returns
        -------
        list of (int, list of int)
            Length of the shared prefix (0 where there is none of that length) and the members.
            Sequences that share nothing long come last, in one group.
        """
        groups: list[tuple[int, list[int]]] = []
        alone: list[int] = []
        members = list(range(len(self.sequences)))
        for run in self._runs(members, minimum):
            if len(run) == 1:
                alone += run
            else:
                groups.append((min(self.shared[k] for k in run[1:]), run))
        return groups + ([(0, alone)] if alone else [])

    def _runs(self, members: list[int], minimum: int) -> list[list[int]]:
        """Cut ascending members wherever two neighbours share fewer than `minimum` tokens."""
        runs: list[list[int]] = []
        for member, shared in zip(members, self.shared_between(members), strict=True):
            if runs and shared >= minimum:
                runs[-1].append(member)
            else:
                runs.append([member])
        return runs

    def _solve(
        self, members: list[int], start: int, end: int, cost: CostModel
    ) -> tuple[float, Segment]:
        """Plan the members that share a prefix of `end` tokens, `start` of them known already."""
        segment = Segment(tuple(members), start, end)
        total = 0.0
        if end > start:
            tokens = end - start
            total += tokens * (1 + cost.attention * end) + cost.pass_overhead
        pool: list[int] = []
        for run in self._runs(members, end + cost.cached_prefix):
            if len(run) > 1:
                depth = min(self.shared_between(run)[1:])
                # A sequence that ends at the shared prefix has nothing left for a row of its own.
                depth = min(depth, min(len(self.sequences[k]) for k in run) - 1)
                if depth - end >= cost.cached_prefix:
                    apart, child = self._solve(run, end, depth, cost)
                    tokens, together = self._cut(run, end, cost)
                    passes = sum(row.tokens for row in tokens) / cost.batch_tokens
                    if apart < together + passes * cost.pass_overhead:
                        segment.children.append(child)
                        total += apart
                        continue
            pool += run
        if pool:
            rows, rows_cost = self._cut(pool, end, cost)
            segment.batches = pack_rows(rows, cost)
            total += rows_cost + len(segment.batches) * cost.pass_overhead
        return total, segment

    def _cut(self, members: list[int], start: int, cost: CostModel) -> tuple[list[Row], float]:
        """Cut ascending members into the rows that cost least (dynamic programming).

        A longer row repeats fewer shared tokens but has more pairs to attend to.
        """
        lengths = np.array([len(self.sequences[k]) for k in members]) - start
        shared = np.maximum(np.array(self.shared_between(members)) - start, 0)
        # Tokens of the row i..j: those of i, then what each later member adds.
        added = np.concatenate(([0], np.cumsum(lengths - shared)))
        first = lengths - added[1:]
        count = len(members)
        best = np.zeros(count + 1)
        choice = np.zeros(count + 1, dtype=np.int64)
        low = 0
        for end in range(1, count + 1):
            while low < end - 1 and first[low] + added[end] > cost.row_tokens:
                low += 1
            tokens = first[low:end] + added[end]
            costs = best[low:end] + tokens * (1 + cost.attention * (tokens + start))
            k = int(np.argmin(costs))
            best[end], choice[end] = costs[k], low + k
        rows: list[Row] = []
        end = count
        while end:
            begin = int(choice[end])
            tokens = int(first[begin] + added[end])
            rows.append(Row(tuple(members[begin:end]), start, tokens))
            end = begin
        return rows[::-1], float(best[-1])


def pack_rows(rows: Sequence[Row], cost: CostModel) -> list[list[Row]]:
    """Stack rows into forward passes with little padding.

    Parameters
    ----------
    rows : sequence of Row
        Rows in any order.
    cost : CostModel
        Limits and costs of a forward pass.

    Returns
    -------
    list of list of Row
        Batches, longest rows first; number of rows times the longest is at most
        ``cost.batch_tokens`` unless a batch is a single row.
    """
    ordered = sorted(rows, key=lambda row: -row.tokens)
    lengths = np.array([row.tokens for row in ordered], dtype=np.float64)
    count = len(ordered)
    best = np.full(count + 1, math.inf)
    best[0] = 0.0
    choice = np.zeros(count + 1, dtype=np.int64)
    low = 0
    for end in range(1, count + 1):
        while low < end - 1 and (end - low) * lengths[low] > cost.batch_tokens:
            low += 1
        begins = np.arange(low, end)
        costs = best[low:end] + (end - begins) * lengths[low:end] + cost.pass_overhead
        k = int(np.argmin(costs))
        best[end], choice[end] = costs[k], low + k
    batches: list[list[Row]] = []
    end = count
    while end:
        begin = int(choice[end])
        batches.append(ordered[begin:end])
        end = begin
    return batches[::-1]
