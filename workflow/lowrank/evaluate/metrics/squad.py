"""Extractive question answering: windows, spans and the metrics of SQuAD v1.1.

Answers are found as in Devlin et al. (2019): the context is cut into overlapping windows, and the
answer is the span of the highest sum of start and end logits over all of them. Exact match and F1
are those of Rajpurkar et al. (2016), written out here because no package that the workflow needs
brings them: transformers 5 dropped its `squad_metrics`, and `evaluate` fetches its script.
"""

from __future__ import annotations

import hashlib
import math
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import PreTrainedModel

from lowrank.base.errors import LowrankError
from lowrank.base.names import CLUSTER
from lowrank.evaluate.finite import NotFiniteError

if TYPE_CHECKING:
    from numpy.typing import NDArray

METRICS = ("exact_match", "f1")


@dataclass(frozen=True)
class Window:
    """One input of the model.

    Attributes
    ----------
    question
        Position of its question.
    features
        What the model takes, a list of T numbers each.
    offsets
        (start, end) in the context for each token, in characters; None outside the context.
    """

    question: int
    features: dict[str, list[int]]
    offsets: list[tuple[int, int] | None]


def require(rows: Sequence[Mapping[str, Any]]) -> None:
    """Check that each question has a text, a context and answers in it.

    Raises
    ------
    LowrankError
        If one has not. In SQuAD v2 some have no answer: whether a model abstains is not scored.
    """
    for row in rows:
        for column in ("question", "context"):
            if not isinstance(row[column], str) or not row[column].strip():
                raise LowrankError(f"question {row['id']} has no text {column!r}")
        texts = row["answers"].get("text") if isinstance(row["answers"], Mapping) else None
        if not texts:
            raise LowrankError(
                f"question {row['id']} has no answer in its context (SQuAD v2?); only those that "
                "have one are scored: give it a file of these"
            )
        # The letters of a text are no answers.
        is_list = isinstance(texts, list)
        if not is_list or not all(isinstance(own, str) and own.strip() for own in texts):
            raise LowrankError(
                f"question {row['id']}: its answers, {texts!r}, are no list of texts"
            )


def answer_questions(
    model: PreTrainedModel,
    tokenizer: Any,
    rows: Sequence[Mapping[str, Any]],
    options: Mapping[str, int],
    batch_size: int,
) -> list[dict[str, Any]]:
    """Return the passage, the prediction, exact match and F1 of each question.

    Several questions are on one passage, which is named by the start of its checksum.

    Parameters
    ----------
    model, tokenizer
        A model for extractive question answering and its fast tokenizer.
    rows
        `id`, `question`, `context` and `answers` with a list `text`.
    options
        `max_length` and `stride` of the windows, in tokens; `n_best` starts and ends looked at;
        `max_answer_length` in tokens.
    batch_size
        Windows at once.

    Raises
    ------
    NotFiniteError
        If a logit is not finite: there is no best span then. It says the question's place.
    """
    windows = cut_windows(tokenizer, rows, options["max_length"], options["stride"])
    best: list[tuple[float, str]] = [(-math.inf, "")] * len(rows)
    for start in range(0, len(windows), batch_size):
        batch = windows[start : start + batch_size]
        for window, starts_T, ends_T in zip(batch, *_logits(model, tokenizer, batch), strict=True):
            if not np.isfinite([starts_T, ends_T]).all():
                raise NotFiniteError(str(model.dtype), window.question)
            found = best_span(
                starts_T,
                ends_T,
                np.array([offset is not None for offset in window.offsets]),
                options["n_best"],
                options["max_answer_length"],
            )
            if found is not None and found[0] > best[window.question][0]:
                score, first, last = found
                context = rows[window.question]["context"]
                answer = context[window.offsets[first][0] : window.offsets[last][1]]
                best[window.question] = (score, answer)
    answers = []
    for row, (_, prediction) in zip(rows, best, strict=True):
        golds = row["answers"]["text"]
        metrics = {
            "exact_match": max(exact_match(prediction, gold) for gold in golds),
            "f1": max(f1(prediction, gold) for gold in golds),
        }
        passage = hashlib.sha256(row["context"].encode()).hexdigest()[:12]
        named = {"id": row["id"], "passage": passage, "prediction": prediction}
        answers.append(named | metrics)
    return answers


def cut_windows(
    tokenizer: Any, rows: Sequence[Mapping[str, Any]], max_length: int, stride: int
) -> list[Window]:
    """Cut each context into windows that start with the question and cover all of it.

    Parameters
    ----------
    tokenizer
        A fast tokenizer, which knows the characters of each token.
    rows
        `question` and `context`.
    max_length
        Tokens a window, the question and the special tokens included.
    stride
        Tokens of the context that consecutive windows share.
    """
    windows = []
    for position, row in enumerate(rows):
        encoded = tokenizer(
            row["question"].strip(),  # some questions are padded with blanks beyond a window
            row["context"],
            max_length=max_length,
            stride=stride,
            truncation="only_second",
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        for index, offsets in enumerate(encoded["offset_mapping"]):
            parts = encoded.sequence_ids(index)
            inside = [
                tuple(offset) if part == 1 else None
                for offset, part in zip(offsets, parts, strict=True)
            ]
            features = {
                name: encoded[name][index]
                for name in tokenizer.model_input_names
                if name in encoded
            }
            windows.append(Window(position, features, inside))
    return windows


def _logits(
    model: PreTrainedModel, tokenizer: Any, windows: Sequence[Window]
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Return start and end logits of each window, (T,), without the padding."""
    batch = tokenizer.pad([window.features for window in windows], return_tensors="pt")
    if model.config.type_vocab_size == 1:  # it does not tell the question from the context by type
        batch.pop("token_type_ids", None)
    with torch.inference_mode():
        outputs = model(**batch.to(model.device))
    lengths = [len(window.offsets) for window in windows]
    starts, ends = (
        [row[:length] for row, length in zip(logits.float().cpu().numpy(), lengths, strict=True)]
        for logits in (outputs.start_logits, outputs.end_logits)
    )
    return starts, ends


def best_span(
    start_logits_T: NDArray[np.floating],
    end_logits_T: NDArray[np.floating],
    allowed_T: NDArray[np.bool_],
    n_best: int,
    max_answer_length: int,
) -> tuple[float, int, int] | None:
    """Return (score, first, last) of the span with the highest sum of logits, or None.

    Parameters
    ----------
    start_logits_T, end_logits_T
        (T,).
    allowed_T
        Which tokens belong to the context; a span has no other.
    n_best
        How many of the best starts and ends are looked at.
    max_answer_length
        Tokens that a span may have.
    """
    places = np.flatnonzero(allowed_T)
    starts = places[np.argsort(-start_logits_T[places], kind="stable")[:n_best]]
    ends = places[np.argsort(-end_logits_T[places], kind="stable")[:n_best]]
    spans = [
        (float(start_logits_T[start] + end_logits_T[end]), int(start), int(end))
        for start in starts
        for end in ends
        if start <= end < start + max_answer_length
    ]
    return max(spans, key=lambda span: span[0], default=None)


def normalize_answer(text: str) -> str:
    """Return an answer in lower case without punctuation, articles and repeated blanks."""
    text = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_match(prediction: str, gold: str) -> float:
    """Return 1.0 if prediction and gold answer are equal once normalised, else 0.0."""
    return float(normalize_answer(prediction) == normalize_answer(gold))


def f1(prediction: str, gold: str) -> float:
    """Return the F1 of the normalised words that prediction and gold answer share."""
    predicted, expected = normalize_answer(prediction).split(), normalize_answer(gold).split()
    shared = (Counter(predicted) & Counter(expected)).total()
    return 2.0 * shared / (len(predicted) + len(expected)) if shared else 0.0


def question_scores(answers: Sequence[Mapping[str, Any]], metric: str) -> list[dict[str, Any]]:
    """Return a metric of each answer, and its passage: questions on one passage are alike.

    Parameters
    ----------
    answers
        What `answer_questions` returns.
    metric
        One of `METRICS`.
    """
    return [{"value": answer[metric], CLUSTER: answer["passage"]} for answer in answers]
