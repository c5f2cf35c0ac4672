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
from lowrank.evaluate.result import Answers, Scored, make_score, write_results

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


def write(folder, scored):
    """Write what was scored; return the paths of the result, the samples and the scores."""
    outputs = [folder / f"dense.{suffix}" for suffix in ("json", "jsonl", "csv")]
    write_results(*outputs, scored, MANIFEST, {"device": "cpu", "seed": 3})
    return outputs


def scored(name, answers, metric="acc", **details):
    return Scored({"name": name, "metric": metric}, {"limit": None, "more": (1,)}, answers, details)


def test_three_files_of_one_configuration(tmp_path):
    samples = [{"task": "toy", "doc_id": k, "said": "é"} for k in range(2)]
    ranked = Answers(samples, questions([0.25, 1.0], label=[0, 1]), **FACTS)
    others = questions([1.0, 0.0, 1.0], log_probability=[-1.0, -2.0, -3.0], place=[2, 0, 1])
    beside = {"other": (METRICS["acc_norm"], questions([0.0, 0.0, 1.0]))}
    plain = Answers([], others, **(FACTS | {"available": 20, "beside": beside}))
    outputs = write(
        tmp_path,
        [
            scored("ranks", ranked, "average_precision", results={"toy": math.nan}),
            scored("shares", plain),
        ],
    )
    result = read_json(outputs[0])
    assert result["model"] == "tiny" and result["decomposition"] == "dense"
    assert result["settings"] == {"device": "cpu", "seed": 3}
    assert result["provenance"]["seed"] == 3
    assert result["samples_sha256"] == tiny.sha256(outputs[1])
    assert result["scores_sha256"] == tiny.sha256(outputs[2])
    assert set(result["benchmarks"]) == {"ranks", "shares"}
    own = result["benchmarks"]["ranks"]
    assert own["score"] == make_score(ranked.scores, METRICS["average_precision"])
    assert own["questions"] == {"asked": 2, "available": 9} and own["questions_sha256"] == "abc"
    assert own["settings"] == {"limit": None, "more": [1]} and own["beside"] == {}
    assert own["results"] == {"toy": "nan"}
    own = result["benchmarks"]["shares"]
    assert own["score"] == make_score(others, METRICS["acc"])
    assert own["beside"] == {"other": make_score(beside["other"][1], METRICS["acc_norm"])}
    assert own["questions"] == {"asked": 3, "available": 20}
    lines = outputs[1].read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"benchmark": "ranks"} | own for own in samples]
    table = pd.read_csv(outputs[2])
    columns = ["benchmark", "task", "question", "value", "log_probability", "label", "place"]
    assert list(table) == columns
    assert table["benchmark"].tolist() == 2 * ["ranks"] + 3 * ["shares"]
    assert table["value"].tolist() == [0.25, 1.0, 1.0, 0.0, 1.0]
    # What a benchmark does not have is blank.
    assert table["label"].isna().tolist() == [False, False, True, True, True]
    assert table["log_probability"].isna().tolist() == [True, True, False, False, False]
    assert table["place"].tolist()[2:] == [2, 0, 1]


def test_equal_answers_make_equal_bytes(tmp_path):
    samples = [{"task": "toy", "doc_id": k, "acc": 1.0} for k in range(2)]
    answers = Answers(samples, questions([1 / 3, 0.1]), **FACTS)
    first, second = (
        [path.read_bytes() for path in write(tmp_path / name, [scored("toy", answers)])[1:]]
        for name in ("a", "b")
    )
    assert first == second


def test_samples_leave_out_what_other_files_hold(tmp_path):
    sample = {"task": "toy", "doc_id": 0, "acc": 1.0, "target": "A"}
    large = {"doc": {"q": 1}, "arguments": [["a", "b"]], "resps": [[-1.0]], "embedding": [0.5]}
    answers = Answers([sample | large], questions([1.0]), **FACTS)
    _, path, _ = write(tmp_path, [scored("toy", answers)])
    assert json.loads(path.read_text()) == {"benchmark": "toy"} | sample
