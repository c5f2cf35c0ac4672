"""What is run to be measured: fixed prefill and decode, and each benchmark's real lengths.

Prefill and decode are apart, since one is bound by arithmetic and the other by reading weights.

Shape suffixes: ``B`` rows, ``T`` tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.base.names import FIXED_BATCH


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
    rows_per_question
        Requests that one question of a benchmark takes; None for fixed work, which asks nothing.
    batch_rule
        What says how many rows there are: `LARGEST_BATCH`, `CAPPED_BATCH` or `FIXED_BATCH`.
    """

    name: str
    phase: str
    lengths: tuple[int, ...]
    new_tokens: int = 0
    rows_per_question: float | None = None
    batch_rule: str = FIXED_BATCH

    @property
    def batch(self) -> int:
        """Rows."""
        return len(self.lengths)

    @property
    def tokens(self) -> int:
        """Tokens that one iteration computes, padding not counted."""
        return self.batch * self.new_tokens if self.phase == "decode" else sum(self.lengths)

    @property
    def padding(self) -> float:
        """Share of the prompt's positions that is padding: computed, but of no row."""
        return 1 - sum(self.lengths) / (self.batch * max(self.lengths))

    def record(self) -> dict[str, Any]:
        """Return what a result says of it."""
        return {
            "name": self.name,
            "phase": self.phase,
            "batch": self.batch,
            "batch_rule": self.batch_rule,
            "lengths": list(self.lengths),
            "new_tokens": self.new_tokens,
            "tokens": self.tokens,
            "padding": self.padding,
            "rows_per_question": self.rows_per_question,
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


@dataclass(frozen=True)
class Requests:
    """What a benchmark asks.

    Attributes
    ----------
    lengths
        Tokens of each request.
    questions
        How many questions the requests are of: one has a request for each of its choices.
    """

    lengths: Sequence[int]
    questions: int


def fixed(entry: Mapping[str, Any], batch: int, batch_rule: str = FIXED_BATCH) -> Workload:
    """Return a fixed workload of the configuration (`phase`, `prompt`, `new_tokens`).

    Parameters
    ----------
    batch
        Rows.
    batch_rule
        See `Workload`. The name of rows that were searched for does not depend on how many they
        are.
    """
    new_tokens = entry["new_tokens"] if entry["phase"] == "decode" else 0
    name = f"{entry['phase']} {entry['prompt']}" + (f"+{new_tokens}" if new_tokens else "")
    rows = f"batch {batch}" if batch_rule == FIXED_BATCH else "largest batch"
    return Workload(
        f"{name}, {rows}",
        entry["phase"],
        (entry["prompt"],) * batch,
        new_tokens,
        batch_rule=batch_rule,
    )


def of_benchmark(
    label: str, requests: Requests, rows: int, batch_rule: str = FIXED_BATCH
) -> Workload:
    """Return the prefill of a benchmark's real requests.

    Parameters
    ----------
    label
        What figures call the benchmark.
    rows
        How many rows; their lengths are evenly spaced quantiles of the requests'.
    batch_rule
        See `Workload`.
    """
    levels = (np.arange(rows) + 0.5) / rows
    chosen = np.quantile(np.asarray(requests.lengths), levels, method="nearest")
    return Workload(
        label,
        "prefill",
        tuple(int(length) for length in chosen),
        rows_per_question=len(requests.lengths) / requests.questions,
        batch_rule=batch_rule,
    )


def distinct(workloads: Iterable[Workload]) -> list[Workload]:
    """Return each workload once; different ones of one name get a number."""
    made: dict[Workload, Workload] = {}
    taken: dict[str, int] = {}
    for workload in workloads:
        if workload not in made:
            taken[workload.name] = taken.get(workload.name, 0) + 1
            number = taken[workload.name]
            name = workload.name if number == 1 else f"{workload.name} ({number})"
            made[workload] = replace(workload, name=name)
    return list(made.values())


def read_requests(requests: str | Path, questions: str | Path) -> Requests:
    """Return what `lowrank.evaluate.requests.prepare_requests` wrote, as lengths.

    Parameters
    ----------
    requests, questions
        Its two files.
    """
    # Here, since a reference on a GPU machine reads no questions and needs no pyarrow.
    from lowrank.assets.choice import read_questions

    table = read_questions(requests).select(["context_ids", "continuation_ids"]).to_pylist()
    lengths = [len(row["context_ids"]) + len(row["continuation_ids"]) for row in table]
    return Requests(lengths, len(read_questions(questions)))


def make_prompt(workload: Workload, vocabulary: int, seed: int) -> Prompt:
    """Return the input of a workload, the same for every model of a comparison."""
    rng = np.random.default_rng(seed)
    width = max(workload.lengths)
    ids_BT = rng.integers(0, vocabulary, (workload.batch, width), dtype=np.int64)
    mask_BT = np.arange(width)[None] >= width - np.array(workload.lengths)[:, None]
    return Prompt(ids_BT, mask_BT.astype(np.int64))
