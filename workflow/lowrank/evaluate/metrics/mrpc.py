"""Paraphrase identification by the embeddings of a sentence encoder (GLUE's MRPC).

The similarity of a pair is the cosine of the two mean-pooled embeddings (Reimers and Gurevych,
2019). How well it ranks paraphrases above the other pairs is the average precision, which needs
no threshold, so that none has to be tuned on data that a compressed model never saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor
from transformers import PreTrainedModel

from lowrank.base.errors import LowrankError
from lowrank.base.statistics import bootstrap_average_precision


def score_pairs(
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
    """Return mean-pooled embeddings of unit length, (texts × hidden), in float32 on the CPU."""
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
        made.append(torch.nn.functional.normalize(mean_BH, dim=1).cpu())
    return torch.cat(made)


def summarize(samples: Sequence[Mapping[str, Any]], metric: str) -> dict[str, Any]:
    """Return the average precision with a bootstrap over pairs (percentiles).

    Parameters
    ----------
    samples
        What `score_pairs` returns.
    metric
        `average_precision`, the one there is.

    Raises
    ------
    LowrankError
        If the metric is another one, no pair is a paraphrase, or a similarity is not finite.
    """
    if metric != "average_precision":
        raise LowrankError(f"mrpc has no metric {metric!r}; known: average_precision")
    labels = np.array([sample["label"] for sample in samples])
    similarities = np.array([sample["similarity"] for sample in samples])
    if not labels.any():
        raise LowrankError("mrpc: none of the pairs is a paraphrase; ask more of them")
    if not np.isfinite(similarities).all():
        raise LowrankError("mrpc: a similarity is not finite; try float32")
    resampled = bootstrap_average_precision(similarities[:, None], labels)[:, 0]
    return {
        "value": float(average_precision_score(labels, similarities)),
        "standard_error": float(np.std(resampled, ddof=1)),
        "interval_95": [float(bound) for bound in np.percentile(resampled, [2.5, 97.5])],
        "questions": len(samples),
        "metric": metric,
    }
