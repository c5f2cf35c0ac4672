"""Baselines by hand, against scikit-learn, and as a result."""

import numpy as np
import pytest
import tiny
import tiny_bert
from lowrank.assets.choice import SUBSET, asking_order
from lowrank.base.files import read_json
from lowrank.evaluate.baselines import bag_of_words, score_baseline, word_overlap
from lowrank.evaluate.held_out import fold_of
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SETTINGS = {"limit": 24, "seed": 3, "sampling": "random"}


def test_the_overlap_of_three_pairs_by_hand():
    pairs = [
        ("The cat sat", "the cat ran", 1),  # the, cat of the, cat, sat, ran
        ("a b c d", "e f", 0),
        ("one two", "Two one two", 1),
    ]
    rows = [{"sentence1": one, "sentence2": two, "label": label} for one, two, label in pairs]
    scores = word_overlap(rows, {})
    assert [score["value"] for score in scores] == [0.5, 0.0, 1.0]
    assert [score["label"] for score in scores] == [1, 0, 1]
    assert word_overlap([{"sentence1": "", "sentence2": " ", "label": 0}], {})[0]["value"] == 0.0


def reviews(count=80):
    """Sentences of random words, with one in half of them that says the label."""
    words = ["good", "bad"]
    return [
        {
            "sentence": f"{tiny.words(index, 4)} {words[index % 2] if index % 4 < 2 else 'so'}",
            "label": (index + 1) % 2,
        }
        for index in range(count)
    ]


def test_a_bag_of_words_is_cross_validation_of_counts():
    rows = reviews()
    found = [score["value"] for score in bag_of_words(rows, {"folds": 5})]
    sentences, labels = (np.array([row[key] for row in rows]) for key in ("sentence", "label"))
    own = make_pipeline(
        CountVectorizer(), StandardScaler(with_mean=False), LogisticRegression(C=0.01, tol=1e-10)
    )
    split = PredefinedSplit([fold_of(sentence, 5) for sentence in sentences])
    expected = cross_val_predict(own, sentences, labels, cv=split) == labels
    assert found == expected.astype(float).tolist()
    assert np.mean(found) > 0.6  # better than a guess: half of them have a word that says it


@pytest.mark.parametrize("limit", [24, None])
def test_a_baseline_is_asked_what_the_model_is(limit, tmp_path):
    pairs = tiny_bert.pair_rows(40).to_pylist()
    # Equal pairs are no paraphrases now and then: else words alone would rank them perfectly.
    table = tiny.pa.Table.from_pylist(
        [row | {SUBSET: ""} | {"label": index % 5 // 3} for index, row in enumerate(pairs)]
    )
    tiny.write_parquet(table, tmp_path / "questions.parquet")
    benchmark = {
        "name": "mrpc",
        "metric": "average_precision",
        "options": {},
        "baseline": {"name": "word_overlap", "label": "shared words"},
    }
    output = tmp_path / "baseline.json"
    score_baseline(tmp_path / "questions.parquet", benchmark, SETTINGS | {"limit": limit}, output)
    made = read_json(output)
    asked = asking_order([""] * 40, 3)[:limit]
    rows = [table.to_pylist()[row] for row in asked]
    values = [score["value"] for score in word_overlap(rows, {})]
    expected = average_precision_score([row["label"] for row in rows], values)
    assert made["score"]["value"] == pytest.approx(expected)
    low, high = made["score"]["interval_95"]
    assert low < made["score"]["value"] < high
    assert made["questions"] == {"asked": limit or 40, "available": 40}
    assert (made["benchmark"], made["label"]) == ("mrpc", "shared words")
    assert made["provenance"]["questions_sha256"] == tiny.sha256(tmp_path / "questions.parquet")
