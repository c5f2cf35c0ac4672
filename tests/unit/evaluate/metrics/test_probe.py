"""The probe on made encoders: one that tells the labels apart, and one that does not."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import tiny_bert
import torch
from lowrank.base.errors import LowrankError
from lowrank.decompose.loading import load_base
from lowrank.evaluate.finite import NotFiniteError
from lowrank.evaluate.held_out import fold_of
from lowrank.evaluate.metrics.mrpc import embed
from lowrank.evaluate.metrics.probe import (
    answer_questions,
    as_text,
    from_text,
    question_scores,
    require,
)

OPTIONS = {"max_length": 60, "folds": 5}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    directory = tiny_bert.save_model(tmp_path_factory.mktemp("encoder") / "w", tiny_bert.ENCODER)
    return load_base(directory, "float32")


def test_an_answer_is_the_embedding_of_one_sentence(model):
    rows = tiny_bert.sentence_rows(6).to_pylist()
    answers = answer_questions(model, tiny_bert.tokenizer(), rows, OPTIONS, 4)
    texts = [row["sentence"] for row in rows]
    expected_QH = embed(model, tiny_bert.tokenizer(), texts, 60, batch_size=4).numpy()
    for answer, row, expected_H in zip(answers, rows, expected_QH, strict=True):
        assert from_text(answer["embedding"]).tolist() == expected_H.tolist()
        assert answer["label"] == row["label"]
        assert answer["fold"] == fold_of(row["sentence"], 5)


def test_an_embedding_survives_as_text():
    embedding_H = np.random.default_rng(0).normal(size=384).astype(np.float32)
    assert from_text(as_text(embedding_H)).tobytes() == embedding_H.tobytes()
    assert len(as_text(embedding_H)) == 2048  # 4 letters for 3 bytes


class Encoder:
    """An encoder whose states are a function of the token's number."""

    device, dtype = "cpu", torch.float32

    def __init__(self, state):
        self._state = state

    def __call__(self, input_ids, **_):
        return SimpleNamespace(last_hidden_state=self._state(input_ids))


def marked_rows(count=60):
    """Sentences that end with a letter which is their label's."""
    return [
        {"sentence": f"{tiny.words(index, 3)} {'ab'[index % 2]}", "label": index % 2}
        for index in range(count)
    ]


def share_right(encoder, rows):
    answers = answer_questions(encoder, tiny_bert.tokenizer(), rows, OPTIONS, 8)
    return np.mean([score["value"] for score in question_scores(answers, "acc")])


def test_an_encoder_that_tells_labels_apart_is_right():
    letter = tiny_bert.tokenizer().convert_tokens_to_ids("a")

    def states(ids):
        is_last = (ids == letter) & (ids.roll(-1, dims=1) == 3)  # before [SEP]
        return torch.stack([is_last * 5.0, ids * 0.01 + 1.0], dim=-1)

    assert share_right(Encoder(states), marked_rows()) > 0.9


def test_an_encoder_that_says_the_same_of_all_guesses():
    encoder = Encoder(lambda ids: torch.ones(*ids.shape, 4))
    rows = marked_rows()
    # All get the label that more of the other folds have.
    folds = np.array([fold_of(row["sentence"], 5) for row in rows])
    labels = np.array([row["label"] for row in rows])
    right = [
        labels[place] == (labels[folds != folds[place]].mean() > 0.5) for place in range(len(rows))
    ]
    assert share_right(encoder, rows) == np.mean(right) < 0.55


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_embedding_that_is_not_finite_is_no_answer(bad):
    spoiled = Encoder(lambda ids: torch.full((*ids.shape, 4), bad))
    with pytest.raises(NotFiniteError) as raised:
        answer_questions(spoiled, tiny_bert.tokenizer(), marked_rows(5), OPTIONS, 2)
    assert raised.value.asked == 0


def test_too_few_sentences_are_no_probe(model):
    rows = tiny_bert.sentence_rows(2).to_pylist()
    answers = answer_questions(model, tiny_bert.tokenizer(), rows, OPTIONS, 2)
    with pytest.raises(LowrankError, match="2 questions are too few"):
        question_scores(answers, "acc")


def test_hidden_labels_are_no_class_of_their_own():
    rows = tiny_bert.sentence_rows(4).to_pylist()
    rows[3]["label"] = 5
    require(rows)
    with pytest.raises(LowrankError, match="has the label -1: a test split may hide it"):
        require([row | {"label": -1} for row in rows])
