"""Sentence embeddings against the model's own states, and what a pair is worth."""

import numpy as np
import pytest
import tiny
import tiny_bert
import torch
from lowrank.base.errors import LowrankError
from lowrank.decompose.loading import load_base
from lowrank.evaluate.finite import NotFiniteError
from lowrank.evaluate.metrics.mrpc import answer_questions, embed, question_scores, require


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    directory = tiny_bert.save_model(tmp_path_factory.mktemp("encoder") / "w", tiny_bert.ENCODER)
    return load_base(directory, "float32")


def test_embeddings_are_means_over_a_sentence_alone(model):
    """Padding in a batch changes nothing: each text by itself gives the same embedding."""
    tokenizer = tiny_bert.tokenizer()
    texts = [tiny.words(index, 1 + index) for index in range(5)]
    made = embed(model, tokenizer, texts, 60, batch_size=3).numpy()
    for text, row in zip(texts, made, strict=True):
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy()
        mean = states.mean(axis=0)
        assert row == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)


def test_a_pair_is_as_similar_as_its_embeddings(model):
    rows = tiny_bert.pair_rows(4).to_pylist()
    rows[2]["sentence2"] = rows[2]["sentence1"]
    answers = answer_questions(model, tiny_bert.tokenizer(), rows, {"max_length": 60}, 2)
    assert [answer["label"] for answer in answers] == [row["label"] for row in rows]
    assert answers[2]["similarity"] == pytest.approx(1.0)
    assert all(-1 <= answer["similarity"] < 1 - 1e-6 for answer in answers[:2])
    scores = question_scores(answers, "average_precision")
    assert scores[1] == {"value": answers[1]["similarity"], "label": answers[1]["label"]}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_embedding_that_is_not_finite_is_no_answer(model, bad):
    """One number of the last state of one sentence, in the second batch."""
    rows = tiny_bert.pair_rows(5).to_pylist()
    batches = []

    def spoil(_, inputs, outputs):
        batches.append(len(outputs.last_hidden_state))
        if len(batches) == 2:
            outputs.last_hidden_state[1, 0, 3] = bad

    hook = model.register_forward_hook(spoil)
    try:
        with pytest.raises(NotFiniteError) as raised:
            answer_questions(model, tiny_bert.tokenizer(), rows, {"max_length": 60}, 2)
    finally:
        hook.remove()
    assert raised.value.asked == 3 and batches == [2, 2]


def test_pairs_without_a_paraphrase_rank_nothing():
    with pytest.raises(LowrankError, match="none of the pairs is a paraphrase"):
        question_scores([{"similarity": 0.5, "label": 0}], "average_precision")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": -1}, "has the label -1: a test split may hide it"),
        ({"label": 2}, "has the label 2"),
        ({"label": None}, "has the label None"),
        ({"label": "1"}, "has the label '1'"),
        ({"sentence2": None}, "question 2, as they are asked, has no text 'sentence2'"),
    ],
)
def test_pairs_that_say_nothing_are_refused(changes, message):
    """A hidden label of -1 would count as a paraphrase."""
    rows = tiny_bert.pair_rows(4).to_pylist()
    require(rows)
    rows[2] |= changes
    with pytest.raises(LowrankError, match=message):
        require(rows)
