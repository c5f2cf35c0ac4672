"""Paraphrase identification by the embeddings of a sentence encoder (GLUE's MRPC).

The similarity of a pair is the cosine of the two mean-pooled embeddings (Reimers and Gurevych,
2019). How well it ranks paraphrases above the other pairs is the average precision, which needs
no threshold, so that none has to be tuned on data that a compressed model never saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lowrank.base.errors import LowrankError
from lowrank.evaluate.finite import NotFiniteError

METRICS = ("average_precision",)


def require(rows: Sequence[Mapping[str, Any]]) -> None:
    """Check that each pair has two sentences and the label 0 or 1.

    Raises
    ------
    LowrankError
        If one has not.
    """
    require_sentences(rows, ("sentence1", "sentence2"), labels=(0, 1))


def require_sentences(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], labels: Sequence[int] | None
) -> None:
    """Check that rows have their sentences, and a label that is not hidden.

    Parameters
    ----------
    rows
        Questions.
    columns
        Those of the sentences.
    labels
        Which are known; None for all whole numbers from 0.

    Raises
    ------
    LowrankError
        If one has not.
    """
    for number, row in enumerate(rows):
        for column in columns:
            if not isinstance(row[column], str):
                raise LowrankError(f"question {number}, as they are asked, has no text {column!r}")
        label = row["label"]
        is_known = isinstance(label, int) and (label >= 0 if labels is None else label in labels)
        if not is_known:
            raise LowrankError(
                f"a question, {row[columns[0]][:40]!r}, has the label {label!r}: a test split may "
                "hide it; give it questions with labels"
            )


def answer_questions(
    model: PreTrainedModel,
    tokenizer: Any,
    rows: Sequence[Mapping[str, Any]],
    options: Mapping[str, int],
    batch_size: int,
) -> list[dict[str, Any]]:
    """Return the similarity and the label of each pair.

    Parameters
    ----------
    model, tokenizer
        A bare encoder.
    rows
        `sentence1`, `sentence2` and `label` (1 for a paraphrase).
    options
        `max_length`, tokens a sentence.
    batch_size
        Sentences embedded at once.

    Raises
    ------
    NotFiniteError
        If an embedding is not finite; it says the pair's place.
    """
    first_PH, second_PH = (
        embed(model, tokenizer, [row[key] for row in rows], options["max_length"], batch_size)
        for key in ("sentence1", "sentence2")
    )
    similarities = (first_PH * second_PH).sum(dim=1).tolist()
    return [
        {"similarity": similarity, "label": int(row["label"])}
        for similarity, row in zip(similarities, rows, strict=True)
    ]


def embed(
    model: PreTrainedModel, tokenizer: Any, texts: Sequence[str], max_length: int, batch_size: int
) -> Tensor:
    """Return mean-pooled embeddings of unit length, (texts × hidden), in float32 on the CPU.

    Raises
    ------
    NotFiniteError
        If one is not finite; it says the text's place.
    """
    made = []
    for start in range(0, len(texts), batch_size):
        batch = tokenizer(
            list(texts[start : start + batch_size]),
            padding=True,
            truncation=True,
            max_length=max_length,
            return_tensors="pt",
        ).to(model.device)
        with torch.inference_mode():
            hidden_BTH = model(**batch).last_hidden_state.float()
        mask_BT1 = batch["attention_mask"].unsqueeze(-1).float()
        mean_BH = (hidden_BTH * mask_BT1).sum(dim=1) / mask_BT1.sum(dim=1)
        is_finite_B = mean_BH.isfinite().all(dim=1)
        if not is_finite_B.all():
            raise NotFiniteError(str(model.dtype), start + int(is_finite_B.int().argmin()))
        made.append(torch.nn.functional.normalize(mean_BH, dim=1).cpu())
    return torch.cat(made)


def question_scores(answers: Sequence[Mapping[str, Any]], metric: str) -> list[dict[str, Any]]:
    """Return the similarity of each pair, which ranks it, and its label.

    Parameters
    ----------
    answers
        What `answer_questions` returns.
    metric
        `average_precision`, the one there is.

    Raises
    ------
    LowrankError
        If no pair is a paraphrase: then there is nothing to rank first.
    """
    if not any(answer["label"] for answer in answers):
        raise LowrankError("mrpc: none of the pairs is a paraphrase; ask more of them")
    return [{"value": answer["similarity"], "label": answer["label"]} for answer in answers]
