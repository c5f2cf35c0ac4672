"""Token perplexity: what answers to windows of a text, or to continuations, are worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lowrank.assets.choice import read_questions
from lowrank.base.errors import LowrankError, suggestion
from lowrank.base.metric import WINDOW_METRICS
from lowrank.base.names import PLACE
from lowrank.evaluate.evaluation import Asked
from lowrank.evaluate.requests import (
    asked_facts,
    first_questions,
    original_positions,
    places_of_questions,
)
from lowrank.evaluate.result import Answers
from lowrank.evaluate.scores import Quantity, quantities
from lowrank.evaluate.store import AnswerStore
from lowrank.evaluate.windows import BYTES, PREDICTIONS


def score_windows(
    asked: Asked, requests: Sequence[Mapping[str, Any]], store: AnswerStore, dtype: str
) -> tuple[Answers, dict[str, Any]]:
    """Return what the answers to a benchmark's windows are worth.

    Parameters
    ----------
    asked
        What was asked. Its entry has `name`, `metric`, `beside`, and what the result is to say.
    requests
        Those of `lowrank.evaluate.windows.prepare_windows`, or of
        `lowrank.evaluate.problems.prepare_continuations`.
    store
        The configuration's answers, those of `requests` among them.
    dtype
        What the model computed in.

    Returns
    -------
    The answers, and what else the result says: the `text` and the `length` of its windows, or the
    columns `context` and `continuation`.

    Raises
    ------
    LowrankError
        If a metric is none of windows, or an answer is not finite.
    """
    benchmark, table = asked.benchmark, read_questions(asked.questions)
    found = {row["question"]: store[row["key"]][0] for row in requests}
    wanted = first_questions(table, asked.settings["limit"])
    positions, places = original_positions(wanted)[""], places_of_questions(wanted)
    samples = [
        {
            "task": benchmark["name"],
            "doc_id": position,
            "log_likelihood": found[position],
            PREDICTIONS: predictions,
            BYTES: size,
        }
        for position, predictions, size in zip(
            positions, wanted[PREDICTIONS].to_pylist(), wanted[BYTES].to_pylist(), strict=True
        )
    ]
    headline, others = quantities(benchmark)
    answers = Answers(
        samples,
        [own | {PLACE: places["", own["question"]]} for own in _worth(samples, headline)],
        **asked_facts(table, asked.questions),
        dtype=dtype,
        beside={name: (other.metric, _worth(samples, other)) for name, other in others.items()},
    )
    said = ("text", "length", "context", "continuation")
    return answers, {key: benchmark[key] for key in said if key in benchmark}


def _worth(samples: Sequence[Mapping[str, Any]], quantity: Quantity) -> list[dict[str, Any]]:
    """Return a quantity of each window: nats a token, say, with the tokens as its weight."""
    name = quantity.metric.name
    if name not in WINDOW_METRICS:
        raise LowrankError(f"windows have no metric {name!r}{suggestion(name, WINDOW_METRICS)}")
    unit = math.log(2) if name == "bits_per_byte" else 1.0
    return [
        {
            "task": sample["task"],
            "question": sample["doc_id"],
            "value": -sample["log_likelihood"] / unit / sample[WINDOW_METRICS[name]],
            "weight": sample[WINDOW_METRICS[name]],
        }
        for sample in samples
    ]
