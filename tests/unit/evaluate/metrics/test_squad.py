"""SQuAD's metric against its published rules, spans against exhaustive search."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import tiny_bert
from hypothesis import given
from hypothesis import strategies as st
from lowrank.assets.choice import read_questions
from lowrank.base.errors import LowrankError
from lowrank.decompose.loading import load_base
from lowrank.evaluate.finite import NotFiniteError
from lowrank.evaluate.metrics import squad
from lowrank.evaluate.metrics.squad import (
    answer_questions,
    best_span,
    cut_windows,
    exact_match,
    f1,
    normalize_answer,
    question_scores,
)

OPTIONS = {"max_length": 40, "stride": 10, "n_best": 20, "max_answer_length": 12}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Denver Broncos", "denver broncos"),
        ("a  an\tthe", ""),
        ("An apple, a day.", "apple day"),
        ("U.S.A.", "usa"),
        ("(24–10)", "24–10"),  # only ASCII punctuation goes
        ("theatre and anthem", "theatre and anthem"),
        ("well-known", "wellknown"),
    ],
)
def test_normalisation(text, expected):
    assert normalize_answer(text) == expected


@pytest.mark.parametrize(
    ("prediction", "gold", "match", "score"),
    [
        ("the Broncos!", "Broncos", 1.0, 1.0),
        ("Denver Broncos", "Broncos", 0.0, 2 / 3),
        ("in the city of Paris", "Paris France", 0.0, 2 * (1 / 4) * (1 / 2) / (1 / 4 + 1 / 2)),
        ("to to be", "to be", 0.0, 2 * (2 / 3) / (2 / 3 + 1)),  # a word counts as often as it is
        ("London", "Paris", 0.0, 0.0),
        ("the", "London", 0.0, 0.0),
    ],
)
def test_metrics_of_one_answer(prediction, gold, match, score):
    assert exact_match(prediction, gold) == match
    assert f1(prediction, gold) == pytest.approx(score)


def test_an_answer_is_worth_its_metric():
    answers = [
        {"passage": "a", "exact_match": 1.0, "f1": 1.0},
        {"passage": "b", "exact_match": 0.0, "f1": 0.5},
    ]
    for metric, values in (("f1", (1.0, 0.5)), ("exact_match", (1.0, 0.0))):
        expected = [{"value": values[0], "cluster": "a"}, {"value": values[1], "cluster": "b"}]
        assert question_scores(answers, metric) == expected


logits = st.lists(st.integers(-50, 50), min_size=12, max_size=12)


@given(logits, logits, st.lists(st.booleans(), min_size=12, max_size=12), st.integers(1, 12))
def test_best_span_is_the_best_of_all(starts, ends, allowed, longest):
    found = best_span(np.array(starts), np.array(ends), np.array(allowed), 12, longest)
    every = [
        starts[first] + ends[last]
        for first in range(12)
        for last in range(first, min(first + longest, 12))
        if allowed[first] and allowed[last]
    ]
    if found is None:
        assert not every
        return
    score, first, last = found
    assert score == max(every) == starts[first] + ends[last]
    assert allowed[first] and allowed[last] and 0 <= last - first < longest


def test_few_best_candidates_are_looked_at():
    starts, ends = np.array([9.0, 0.0, 5.0, 0.0]), np.array([9.0, 0.0, 0.0, 8.0])
    inside = np.array([False, True, True, True])
    assert best_span(starts, ends, inside, 1, 4) == (13.0, 2, 3)
    assert best_span(starts[::-1], ends[::-1], inside[::-1], 1, 4) is None  # the end comes first


def test_windows_cover_every_token_of_the_context():
    tokenizer = tiny_bert.tokenizer()
    rows = tiny_bert.question_rows(5).to_pylist()
    rows[1]["question"] = " " * 500 + rows[1]["question"]
    windows = cut_windows(tokenizer, rows, OPTIONS["max_length"], OPTIONS["stride"])
    assert len(windows) > len(rows)
    for position, row in enumerate(rows):
        own = [window for window in windows if window.question == position]
        whole = tokenizer(row["context"], add_special_tokens=False, return_offsets_mapping=True)
        spans = [{offset for offset in window.offsets if offset} for window in own]
        assert set.union(*spans) == {tuple(offset) for offset in whole["offset_mapping"]}
        for before, after in itertools.pairwise(spans):
            assert len(before & after) == OPTIONS["stride"]
        for window in own:
            assert len(window.offsets) == len(window.features["input_ids"]) <= OPTIONS["max_length"]
            question = tokenizer(row["question"].strip()).input_ids
            assert window.features["input_ids"][: len(question)] == question
            assert not any(window.offsets[: len(question)]) and window.offsets[-1] is None


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    directory = tiny_bert.save_model(tmp_path_factory.mktemp("qa") / "w", tiny_bert.ANSWERING)
    return load_base(directory, "float32")


def test_a_question_without_an_answer_is_refused():
    """As SQuAD v2 has them; of those that have one nothing is said."""
    rows = tiny_bert.question_rows(3).to_pylist()
    squad.require(rows)
    rows[1]["answers"] = {"text": [], "answer_start": []}
    with pytest.raises(LowrankError, match=r"question q1 has no answer in its context \(SQuAD v2"):
        squad.require(rows)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"answers": {"text": "abc", "answer_start": 0}},
            "its answers, 'abc', are no list of texts",
        ),
        ({"answers": {"text": [""], "answer_start": [0]}}, "are no list of texts"),
        ({"answers": {"text": [None], "answer_start": [0]}}, "are no list of texts"),
        ({"context": None}, "has no text 'context'"),
        ({"question": " "}, "has no text 'question'"),
    ],
)
def test_what_is_no_text_is_refused(changes, said):
    """The letters of an answer that is no list would each be taken for one."""
    rows = tiny_bert.question_rows(2).to_pylist()
    rows[1] |= changes
    with pytest.raises(LowrankError, match=f"question q1.* {said}"):
        squad.require(rows)


def check_predictions(model, rows, options):
    tokenizer = tiny_bert.tokenizer()
    samples = answer_questions(model, tokenizer, rows, options, batch_size=3)
    again = answer_questions(model, tokenizer, rows, options, batch_size=1)
    assert [sample["prediction"] for sample in samples] == [s["prediction"] for s in again]
    for row, sample in zip(rows, samples, strict=True):
        assert sample["prediction"] and sample["prediction"] in row["context"]
        length = len(tokenizer(sample["prediction"], add_special_tokens=False).input_ids)
        assert length <= options["max_answer_length"]
        golds = row["answers"]["text"]
        assert sample["f1"] == max(f1(sample["prediction"], gold) for gold in golds)
        assert sample["exact_match"] == max(exact_match(sample["prediction"], g) for g in golds)
    return samples


def test_questions_on_one_passage_are_a_cluster(model):
    rows = tiny_bert.question_rows(3).to_pylist()
    rows.append(rows[1] | {"id": "another", "question": "what is it?"})
    samples = answer_questions(model, tiny_bert.tokenizer(), rows, OPTIONS, batch_size=2)
    first, second, third, fourth = (own["cluster"] for own in question_scores(samples, "f1"))
    assert second == fourth and len({first, second, third}) == 3
    assert isinstance(first, str) and rows[0]["context"] not in first


def test_answers_are_spans_of_the_context(model):
    check_predictions(model, tiny_bert.question_rows(5).to_pylist(), OPTIONS)


def test_the_answer_is_read_off_the_logits(model, monkeypatch):
    """With logits that point at a known word, that word is the answer, in whichever window."""
    rows = tiny_bert.question_rows(4).to_pylist()
    words = [row["context"].rstrip(".").split()[-2] for row in rows]

    def oracle(model, tokenizer, windows):
        starts, ends = [], []
        for window in windows:
            begin = rows[window.question]["context"].rindex(words[window.question])
            end = begin + len(words[window.question])
            starts.append(
                np.array([float(o is not None and o[0] == begin) for o in window.offsets])
            )
            ends.append(np.array([float(o is not None and o[1] == end) for o in window.offsets]))
        return starts, ends

    monkeypatch.setattr(squad, "_logits", oracle)
    samples = answer_questions(model, tiny_bert.tokenizer(), rows, OPTIONS, batch_size=2)
    assert [sample["prediction"] for sample in samples] == words


def test_logits_that_are_not_finite_are_no_answer(model, monkeypatch):
    rows, read = tiny_bert.question_rows(3).to_pylist(), squad._logits

    def one_bad(model, tokenizer, windows):
        starts, ends = read(model, tokenizer, windows)
        for window, end_logits_T in zip(windows, ends, strict=True):
            if window.question == 1:
                end_logits_T[0] = np.nan  # outside of the context, too
        return starts, ends

    monkeypatch.setattr(squad, "_logits", one_bad)
    with pytest.raises(NotFiniteError) as raised:
        answer_questions(model, tiny_bert.tokenizer(), rows, OPTIONS, batch_size=2)
    assert raised.value.asked == 1


def mirrored():
    """The real questions, from a mirror, if there is one."""
    root = os.environ.get("LOWRANK_MIRROR") or "../shared/data"
    return Path(root, "squad", "validation.parquet")


@pytest.mark.skipif(not mirrored().exists(), reason=f"no mirror with SQuAD at {mirrored()}")
def test_real_questions(model):
    rows = read_questions(mirrored()).slice(100, 4).to_pylist()
    options = OPTIONS | {"max_length": 64, "stride": 2}
    for row in rows:  # the tiny model reads 64 letters at once
        row["question"] = row["question"][:30]
    check_predictions(model, rows, options)
