"""Classification of sentences by a linear probe on frozen embeddings (GLUE's SST-2).

The encoder embeds each sentence; a linear classifier is fitted to embeddings and predicts the
labels of sentences that it has not seen. So the score says how much of the label can be read off
the embeddings (Alain and Bengio, 2016). A question's value depends on the other questions, which
fit the classifier; intervals are those of the questions, given this protocol.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from lowrank.evaluate.held_out import classifier, fold_of, held_out_scores
from lowrank.evaluate.metrics.mrpc import embed, require_sentences

METRICS = ("acc",)

_NUMBERS = np.dtype("<f4")


def require(rows: Sequence[Mapping[str, Any]]) -> None:
    """Check that each sentence has a label, a whole number from 0.

    Raises
    ------
    LowrankError
        If one has not.
    """
    require_sentences(rows, ("sentence",), labels=None)


def answer_questions(
    model: PreTrainedModel,
    tokenizer: Any,
    rows: Sequence[Mapping[str, Any]],
    options: Mapping[str, int],
    batch_size: int,
) -> list[dict[str, Any]]:
    """Return the embedding of each sentence, its label and its fold.

    Parameters
    ----------
    model, tokenizer
        A bare encoder.
    rows
        `sentence` and `label`.
    options
        `max_length`, tokens a sentence; `folds`, of the cross-validation.
    batch_size
        Sentences embedded at once.

    Returns
    -------
    Of each `embedding`, mean-pooled and of unit length, as text (see `as_text`); `label`; `fold`.

    Raises
    ------
    NotFiniteError
        If an embedding is not finite; it says the sentence's place.
    """
    sentences = [row["sentence"] for row in rows]
    embeddings_QH = embed(model, tokenizer, sentences, options["max_length"], batch_size).numpy()
    return [
        {
            "embedding": as_text(embedding_H),
            "label": int(row["label"]),
            "fold": fold_of(row["sentence"], options["folds"]),
        }
        for embedding_H, row in zip(embeddings_QH, rows, strict=True)
    ]


def question_scores(answers: Sequence[Mapping[str, Any]], metric: str) -> list[dict[str, Any]]:
    """Return whether each sentence is classified rightly, and the right label's log-probability.

    Parameters
    ----------
    answers
        What `answer_questions` returns.
    metric
        `acc`, the one there is.

    Raises
    ------
    LowrankError
        If there are too few sentences to fit a classifier.
    """
    embeddings_QH = np.stack([from_text(answer["embedding"]) for answer in answers])
    labels, folds = ([answer[key] for answer in answers] for key in ("label", "fold"))
    return held_out_scores(classifier(), embeddings_QH.astype(float), labels, folds)


def as_text(embedding_H: np.ndarray) -> str:
    """Return an embedding, (hidden,), as base64 of its little-endian 32-bit numbers."""
    return base64.b64encode(embedding_H.astype(_NUMBERS).tobytes()).decode()


def from_text(text: str) -> np.ndarray:
    """Return the embedding, (hidden,), that `as_text` wrote."""
    return np.frombuffer(base64.b64decode(text), _NUMBERS)
