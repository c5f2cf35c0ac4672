"""What is run to be measured: fixed prefill and decode, and each benchmark's real lengths.

Prefill and decode are apart, since one is bound by arithmetic and the other by reading weights.

Shape suffixes: ``B`` rows, ``T`` tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Workload:
    """One kind of work.

    Attributes
    ----------
    name
        What results and figures call it.
    phase
        `prefill`: the logits after the last token of each row. `decode`: one new token at a time.
    lengths
        Tokens in each row of the prompt.
    new_tokens
        Tokens to decode after the prompt; 0 for prefill.
    """

    name: str
    phase: str
    lengths: tuple[int, ...]
    new_tokens: int = 0

    @property
    def batch(self) -> int:
        """Rows."""
        return len(self.lengths)

    @property
    def tokens(self) -> int:
        """Tokens that one iteration computes, padding not counted."""
        return self.batch * self.new_tokens if self.phase == "decode" else sum(self.lengths)

    def record(self) -> dict[str, Any]:
        """Return what a result says of it."""
        return {
            "name": self.name,
            "phase": self.phase,
            "batch": self.batch,
            "lengths": list(self.lengths),
            "new_tokens": self.new_tokens,
            "tokens": self.tokens,
        }


@dataclass(frozen=True)
class Prompt:
    """Input of a workload: random tokens, since the cost of a token does not depend on which.

    Attributes
    ----------
    ids_BT, mask_BT
        Token ids, padded on the left, and 1 where there is a token.
    """

    ids_BT: np.ndarray
    mask_BT: np.ndarray = field(repr=False)

    @property
    def is_padded(self) -> bool:
        """Whether rows differ in length."""
        return not self.mask_BT.all()


def fixed(entry: Mapping[str, Any], batch: int) -> Workload:
    """Return a fixed workload of the configuration (`phase`, `prompt`, `new_tokens`)."""
    new_tokens = entry["new_tokens"] if entry["phase"] == "decode" else 0
    name = f"{entry['phase']} {entry['prompt']}" + (f"+{new_tokens}" if new_tokens else "")
    return Workload(
        f"{name}, batch {batch}", entry["phase"], (entry["prompt"],) * batch, new_tokens
    )


def of_benchmark(label: str, lengths: Sequence[int], rows: int) -> Workload:
    """Return the prefill of a benchmark's real requests.

    Parameters
    ----------
    label
        What figures call the benchmark.
    lengths
        Tokens of each of its requests.
    rows
        How many rows; their lengths are evenly spaced quantiles of `lengths`.
    """
    levels = (np.arange(rows) + 0.5) / rows
    chosen = np.quantile(np.asarray(lengths), levels, method="nearest")
    return Workload(label, "prefill", tuple(int(length) for length in chosen))


def request_lengths(path: str | Path) -> list[int]:
    """Return the tokens of each request of `lowrank.prepared_requests.prepare_requests`."""
    from lowrank.questions import read_questions

    table = read_questions(path).select(["context_ids", "continuation_ids"]).to_pylist()
    return [len(row["context_ids"]) + len(row["continuation_ids"]) for row in table]


def make_prompt(workload: Workload, vocabulary: int, seed: int) -> Prompt:
    """Return the input of a workload, the same for every model of a comparison."""
    rng = np.random.default_rng(seed)
    width = max(workload.lengths)
    ids_BT = rng.integers(0, vocabulary, (workload.batch, width), dtype=np.int64)
    mask_BT = np.arange(width)[None] >= width - np.array(workload.lengths)[:, None]
    return Prompt(ids_BT, mask_BT.astype(np.int64))
