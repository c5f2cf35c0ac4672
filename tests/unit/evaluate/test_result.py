"""The writer of results: the score of questions, and nothing that is not finite."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import tiny
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json
from lowrank.base.metric import METRICS
from lowrank.evaluate.journal import AnswerJournal
from lowrank.evaluate.result import Answers, make_score, write_result

FACTS = {"available": 9, "questions_sha256": "abc", "dtype": "float16"}
MANIFEST = {
    "model": "tiny",
    "decomposition": {"name": "dense"},
    "parameter_reduction_percent": 0.0,
    "base": {"model.safetensors": "d"},
    "factors_sha256": None,
}


def questions(values, **columns):
    """Scores of questions; `columns` has one value a question for other columns."""
    rows = [{"task": "toy", "question": k, "value": value} for k, value in enumerate(values)]
    for name, column in columns.items():
        for row, value in zip(rows, column, strict=True):
            row[name] = value
    return rows


def test_the_mean_of_questions():
    rows = questions([n / 4 for n in range(5)], log_probability=[-n for n in range(5)])
    score = make_score(rows, METRICS["acc"])
    assert score["value"] == 0.5 and score["questions"] == 5 and score["log_probability"] == -2
    assert score["standard_error"] == pytest.approx((0.15625 / 5) ** 0.5)
    assert score["interval_95"][0] < 0.5 < score["interval_95"][1]
    assert score["metric"] == "acc"


def test_a_companion_that_one_question_lacks_has_no_mean():
    assert make_score(questions([1.0], log_probability=[None]), METRICS["acc"]) == {
        "value": 1.0,
        "standard_error": 0.0,
        "interval_95": pytest.approx([0.2065, 1.0], abs=1e-4),
        "questions": 1,
        "metric": "acc",
        "log_probability": None,
    }
    assert "log_probability" not in make_score(questions([1.0]), METRICS["acc"])


def test_questions_in_clusters_say_less():
    values = [1.0] * 20 + [0.0] * 20
    alone = make_score(questions(values), METRICS["acc"])
    clusters = [f"passage {k // 4}" for k in range(40)]
    alike = make_score(questions(values, cluster=clusters), METRICS["acc"])
    assert "clusters" not in alone and alike["clusters"] == 10
    assert alike["value"] == alone["value"] == 0.5
    # All four questions on a passage are alike: 10 are worth what 40 were.
    assert alike["standard_error"] == pytest.approx(math.sqrt(0.25 / 9))
    width, narrower = (np.ptp(score["interval_95"]) for score in (alike, alone))
    assert width > 1.7 * narrower
    others = {"label": [1, 0] * 20, "cluster": clusters}
    ranking = make_score(questions(np.linspace(0, 1, 40), **others), METRICS["average_precision"])
    assert ranking["clusters"] == 10


def test_the_chance_level_is_the_mean_over_questions():
    rows = questions([1.0, 0.0], chance=[0.25, 0.2])
    assert make_score(rows, METRICS["acc"])["chance"] == pytest.approx(0.225)
    assert make_score(questions([1.0], chance=[None]), METRICS["acc"])["chance"] is None


def test_average_precision_by_hand():
    # Ranked: 1 0 1 1 0, precision at the paraphrases 1/1, 2/3 and 3/4.
    rows = questions([0.9, 0.8, 0.7, 0.6, 0.5], label=[1, 0, 1, 1, 0])
    score = make_score(rows, METRICS["average_precision"])
    assert score["value"] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert score["interval_95"][0] <= score["value"] <= score["interval_95"][1]
    assert score["standard_error"] > 0 and score["questions"] == 5
    assert make_score(rows, METRICS["average_precision"]) == score


def test_average_precision_of_no_order_is_the_share_of_what_is_right():
    rows = questions([0.5] * 4, label=[1, 1, 0, 1])
    assert make_score(rows, METRICS["average_precision"])["value"] == 0.75


def test_a_score_too_large_for_a_number_is_none():
    """A perplexity is the exponential of a mean: a thousand nats a word are finite, it is not."""
    with (
        np.errstate(over="ignore", invalid="ignore"),
        pytest.raises(LowrankError, match="perplexity.*too large for"),
    ):
        make_score(questions([1000.0, 1001.0], weight=[1, 2]), METRICS["word_perplexity"])


def test_an_average_needs_its_column():
    with pytest.raises(LowrankError, match="average_precision, but its questions have no label"):
        make_score(questions([0.5]), METRICS["average_precision"])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_what_is_not_finite_is_no_answer(bad):
    fine = {"task": "toy", "doc_id": 4, "doc": {"x": math.nan}, "resps": [(-1.0, True)], "acc": 1.0}
    scores = questions([1.0], log_probability=[-1.0])
    Answers([fine], scores, **FACTS)  # what was asked may hold anything
    message = "^toy: the answer to question 4 is not a finite number in float16; set a wider"
    for sample in (fine | {"resps": [(-1.0, True), (bad, False)]}, fine | {"acc": bad}):
        with pytest.raises(LowrankError, match=message):
            Answers([fine, sample], scores, **FACTS)
    for column in ("value", "log_probability"):
        with pytest.raises(LowrankError, match="^toy: the answer to question 0 is not a finite"):
            Answers([fine], [scores[0] | {column: bad}], **FACTS)


def test_no_question_with_the_metric():
    with pytest.raises(LowrankError, match="none of the answers has the benchmark's `metric`"):
        Answers([], [], **FACTS)


@pytest.mark.parametrize("escape", [True, False])
def test_three_files_of_one_evaluation(tmp_path, escape):
    journal = AnswerJournal(tmp_path / "toy.journal", "toy")
    journal.add("key", {0: 1})
    samples = [{"task": "toy", "doc_id": k, "said": "é"} for k in range(2)]
    answers = Answers(samples, questions([0.25, 1.0], label=[0, 1]), **FACTS)
    outputs = [tmp_path / f"toy.{suffix}" for suffix in ("json", "jsonl", "csv")]
    benchmark = {"name": "toy", "metric": "average_precision"}
    settings = {"device": "cpu", "seed": 3}
    own = {"settings": settings | {"more": (1,)}, "results": {"toy": math.nan}}
    write_result(
        *outputs, answers, MANIFEST, benchmark, settings, journal, own, escape=escape, fact="known"
    )
    result = read_json(outputs[0])
    assert result["score"] == make_score(answers.scores, METRICS["average_precision"])
    assert result["questions"] == {"asked": 2, "available": 9}
    assert result["settings"] == {"device": "cpu", "seed": 3, "more": [1]}
    assert result["results"] == {"toy": "nan"}
    assert result["provenance"]["fact"] == "known" and result["provenance"]["seed"] == 3
    assert result["samples_sha256"] == tiny.sha256(outputs[1])
    assert result["scores_sha256"] == tiny.sha256(outputs[2])
    lines = outputs[1].read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == samples
    assert all(("\\u00e9" in line) == escape for line in lines)
    table = pd.read_csv(outputs[2])
    assert list(table) == ["task", "question", "value", "log_probability", "label"]
    assert table["value"].tolist() == [0.25, 1.0] and table["log_probability"].isna().all()
    assert not journal.path.exists()
