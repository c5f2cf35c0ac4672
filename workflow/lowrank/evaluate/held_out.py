"""A linear classifier that is asked about what it was not fitted to.

Each fold is predicted by a classifier that was fitted to all the others (cross-validation). The
fold of a text follows from the text alone. So it is the same for every model and baseline and
however many questions are asked, and equal texts never stand on both sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from lowrank.base.errors import LowrankError

INVERSE_PENALTY = 0.01
"""scikit-learn's `C` of the logistic regression, the same for whatever is classified.

The best power of ten for SST-2 and all-MiniLM-L6-v2 without decomposition; ten times less or more
scores 0.2 or 3.4 points less. It is chosen for no decomposed model.
"""


def fold_of(text: str, folds: int) -> int:
    """Return the fold of a text, 0 to `folds` − 1, by its checksum."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()) % folds


def classifier(*steps: Any, are_counts: bool = False) -> Pipeline:
    """Return the classifier, unfitted.

    A feature is divided by its standard deviation. The embeddings of a decomposed model may lie
    close together, and what tells them apart is then small. With the scale taken off, a fixed
    penalty charges what is lost and not what has shrunk.

    Parameters
    ----------
    *steps
        What makes features of the inputs.
    are_counts
        Whether features are sparse counts. Their means stay, since they would fill the zeros. The
        intercept is free, so means change only how easily the fit is found.
    """
    scaler = StandardScaler(with_mean=not are_counts)
    regression = LogisticRegression(C=INVERSE_PENALTY, tol=1e-8, max_iter=10_000)
    return make_pipeline(*steps, scaler, regression)


def held_out_scores(
    model: Pipeline, inputs: Sequence[Any] | np.ndarray, labels: Sequence[int], folds: Sequence[int]
) -> list[dict[str, Any]]:
    """Return what the prediction for each input is worth, made without its fold.

    The numbers depend on which other questions are asked, since these fit the classifier.

    Parameters
    ----------
    model
        What `classifier` returns.
    inputs
        What it classifies: (questions × features), or texts.
    labels, folds
        The right label and the fold of each.

    Returns
    -------
    Of each question `value`, 1.0 where the prediction is right, and `log_probability`, the natural
    logarithm of the right label's probability.

    Raises
    ------
    LowrankError
        If questions are too few: the others of a fold must have every label.
    """
    inputs_Q = inputs if isinstance(inputs, np.ndarray) else np.array(inputs, dtype=object)
    labels_Q, folds_Q = np.asarray(labels), np.asarray(folds)
    names_K = np.unique(labels_Q)
    value_Q, log_probability_Q = np.empty(len(labels_Q)), np.empty(len(labels_Q))
    with threadpool_limits(1):  # sums in one order, however many cores there are
        for fold in np.unique(folds_Q):
            is_held_Q = folds_Q == fold
            others_Q = labels_Q[~is_held_Q]
            if len(names_K) < 2 or not np.array_equal(np.unique(others_Q), names_K):
                raise LowrankError(
                    f"{len(labels_Q)} questions are too few to fit a classifier without one fold "
                    "of them; ask more"
                )
            fitted = clone(model).fit(inputs_Q[~is_held_Q], others_Q)
            held_Q = labels_Q[is_held_Q]
            value_Q[is_held_Q] = fitted.predict(inputs_Q[is_held_Q]) == held_Q
            of_labels_QK = fitted.predict_log_proba(inputs_Q[is_held_Q])
            places_Q = np.searchsorted(names_K, held_Q)
            log_probability_Q[is_held_Q] = of_labels_QK[np.arange(len(held_Q)), places_Q]
    return [
        {"value": value, "log_probability": log_probability}
        for value, log_probability in zip(value_Q.tolist(), log_probability_Q.tolist(), strict=True)
    ]
