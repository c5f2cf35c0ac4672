"""Studies whose configurations were asked different numbers of questions."""

import numpy as np
import pandas as pd
import pytest
from lowrank.base.errors import LowrankError
from lowrank.claims.estimate import QUESTIONS_LIKE_THESE, THIS_TEST_SET
from lowrank.claims.operators import OPERATORS
from lowrank.claims.studies import AnsweredStudy
from lowrank.claims.verdicts import judge_test
from made_evaluations import write_scores
from made_worlds import small_study

RNG = np.random.default_rng(3)
ANSWERS = {name: RNG.integers(0, 2, 64).astype(float) for name in ("dense", "a", "b")}
TEST = {"says": "s", "short": "s", "operator": "loss", "unit": "%", "range": [0, None]}


def study_of(folder, available=64, **asked):
    answers = {name: values[: asked.get(name, 64)] for name, values in ANSWERS.items()}
    return small_study(folder, answers, available=available)


def loss(evidence, *labels):
    return OPERATORS["loss"](evidence, "small", {"labels": list(labels)}, ["quiz"])


def losses_by_hand(*labels, first):
    """The mean loss over the first questions, in points."""
    dense, *others = (ANSWERS[name][:first].mean() for name in ("dense", *labels))
    return 100 * (dense - np.mean(others))


def test_an_estimate_is_over_the_questions_that_its_configurations_have_in_common(tmp_path):
    evidence = study_of(tmp_path, a=24, b=40)
    for labels, first in ((("a",), 24), (("b",), 40), (("a", "b"), 24)):
        made = loss(evidence, *labels)
        assert made.value == pytest.approx(losses_by_hand(*labels, first=first))
        assert (made.questions, made.available) == (first, 64)
        assert made.configurations == ("dense", *labels) and made.benchmarks == ("quiz",)
        test = judge_test(TEST | {"at_chance": "judged"}, made, 1)
        assert (test["questions"], test["available"]) == (first, 64)
        assert test["configurations"] == ["dense", *labels] and test["benchmarks"] == ["quiz"]


def test_questions_in_common_are_counted_for_any_choice(tmp_path):
    study = study_of(tmp_path, available=100, a=24, b=40).study("small")
    for chosen, expected in (([0], 64), ([0, 1], 24), ([0, 2], 40), ([1, 2], 24)):
        assert study.questions_of(chosen, ["quiz"]) == {"quiz": (expected, 100)}


def test_a_test_set_is_exhausted_only_if_all_that_are_compared_were_asked_all_of_it(tmp_path):
    evidence = study_of(tmp_path, a=24)
    readings = {label: [r.name for r in loss(evidence, label).readings] for label in "ab"}
    assert readings["b"] == [THIS_TEST_SET, QUESTIONS_LIKE_THESE]
    assert readings["a"] == [QUESTIONS_LIKE_THESE]


def test_more_questions_of_others_change_no_estimate_but_for_the_luck_of_the_draw(tmp_path):
    (tmp_path / "few").mkdir()
    few = loss(study_of(tmp_path / "few", dense=24, a=24, b=24), "a")
    (tmp_path / "more").mkdir()
    more = loss(study_of(tmp_path / "more", a=24), "a")
    ends = few.readings[0].interval(0.95)
    assert few.value == pytest.approx(more.value)
    assert more.readings[0].interval(0.95) == pytest.approx(ends, abs=0.04 * np.ptp(ends))


def test_a_table_that_is_of_fewer_answers_is_caught(tmp_path):
    """Its scores are those of the answers that were there when it was made."""
    study = study_of(tmp_path, a=24).study("small")
    frame = {"task": "t", "question": range(64), "value": ANSWERS["a"], "weight": 1}
    write_scores(study.folder, "a", "quiz", frame)
    assert ANSWERS["a"].mean() != ANSWERS["a"][:24].mean()
    with pytest.raises(LowrankError, match=r"small\.csv: a scores .* delete the table"):
        AnsweredStudy(study.path, study.folder)


def test_a_study_of_a_hundred_configurations_is_read_and_contrasted_in_pieces(tmp_path):
    """Every configuration at its own level is compared with the dense model over that level."""
    asked = {f"c{index}": (8, 16, 32, 64)[index % 4] for index in range(100)}
    answers = {"dense": ANSWERS["dense"]}
    answers |= {name: RNG.integers(0, 2, 64)[:count].astype(float) for name, count in asked.items()}
    study = small_study(tmp_path, answers).study("small")
    weights_CS = np.concatenate([np.ones((1, 100)), -np.eye(100)])
    made = study.contrasts(weights_CS, ["quiz"])
    by_hand = [
        100 * (answers["dense"][:count].mean() - answers[name].mean())
        for name, count in asked.items()
    ]
    assert made.records_KS[0] == pytest.approx(by_hand)
    assert pd.Series(asked).to_dict() == {
        name: study.questions_of([0, place + 1], ["quiz"])["quiz"][0]
        for place, name in enumerate(asked)
    }
