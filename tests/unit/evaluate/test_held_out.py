"""The linear probe against scikit-learn's own cross-validation."""

import hashlib

import numpy as np
import pytest
import tiny
from lowrank.base.errors import LowrankError
from lowrank.evaluate.held_out import classifier, fold_of, held_out_scores
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

QUESTIONS, FEATURES, FOLDS = 120, 7, 5


@pytest.fixture
def made():
    """Features of which one says a little of the label, each on a scale of its own."""
    rng = np.random.default_rng(0)
    labels_Q = rng.integers(2, size=QUESTIONS)
    features_QF = rng.normal(size=(QUESTIONS, FEATURES)) * 10.0 ** np.arange(FEATURES) + 3.0
    features_QF[:, 2] += 150.0 * labels_Q
    return features_QF, labels_Q, rng.integers(FOLDS, size=QUESTIONS)


@pytest.mark.parametrize("names", [(0, 1), (3, 5, 9)])
def test_it_is_cross_validation_of_standardized_features(made, names):
    features_QF, labels_Q, folds_Q = made
    labels_Q = labels_Q + np.arange(QUESTIONS) % (len(names) - 1)
    places_Q, labels_Q = labels_Q, np.array(names)[labels_Q]
    scores = held_out_scores(classifier(), features_QF, labels_Q, folds_Q)
    own = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, tol=1e-10))
    split = PredefinedSplit(folds_Q)
    expected_Q = cross_val_predict(own, features_QF, labels_Q, cv=split) == labels_Q
    assert [score["value"] for score in scores] == expected_Q.astype(float).tolist()
    assert 1 / len(names) < expected_Q.mean() < 1
    logarithms_QK = cross_val_predict(
        own, features_QF, labels_Q, cv=split, method="predict_log_proba"
    )
    found_Q = np.array([score["log_probability"] for score in scores])
    assert found_Q == pytest.approx(logarithms_QK[np.arange(QUESTIONS), places_Q], abs=1e-4)


def test_the_scale_of_features_does_not_count(made):
    features_QF, labels_Q, folds_Q = made
    near_QF = features_QF * 1e-4 + 12.0
    first, second = (
        [score["value"] for score in held_out_scores(classifier(), inputs, labels_Q, folds_Q)]
        for inputs in (features_QF, near_QF)
    )
    assert first == second


def test_labels_that_features_do_not_know_are_guessed(made):
    """A leak of held-out labels would show here as a share above chance."""
    features_QF, _, folds_Q = made
    shares = []
    for seed in range(20):
        labels_Q = np.random.default_rng([1, seed]).permutation(np.arange(QUESTIONS) % 2)
        scores = held_out_scores(classifier(), features_QF, labels_Q, folds_Q)
        shares.append(np.mean([score["value"] for score in scores]))
    assert abs(np.mean(shares) - 0.5) < 0.05


def test_equal_calls_give_equal_bytes(made):
    assert held_out_scores(classifier(), *made) == held_out_scores(classifier(), *made)


@pytest.mark.parametrize("labels", [[1, 1, 1, 1], [0, 1, 1, 1]])
def test_too_few_questions_fit_nothing(labels):
    with pytest.raises(LowrankError, match="4 questions are too few .*; ask more$"):
        held_out_scores(classifier(), np.eye(4), labels, [0, 1, 2, 3])


def test_a_fold_follows_from_the_text_alone():
    texts = [tiny.words(index, 3) for index in range(500)]
    folds = [fold_of(text, 10) for text in texts]
    assert folds == [int(hashlib.sha256(text.encode()).hexdigest(), 16) % 10 for text in texts]
    assert np.bincount(folds, minlength=10).min() > 25  # about 50 each
