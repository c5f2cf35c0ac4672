"""The reader of evaluations, on files that these tests write."""

import json
import os

import pandas as pd
import pytest
from lowrank.base.errors import LowrankError
from lowrank.base.evaluations import benchmark_result, read_result, read_scores

ROWS = [
    ("quiz", "t", 2, 1.0, -0.5, None, None),
    ("quiz", "t", 10, 0.0, -1.5, None, None),
    ("quiz", "s", 3, 0.5, None, None, "null"),
    ("exam", "u", "x7", 0.25, None, 1, None),
    ("exam", "u", "x6", 0.75, None, 0, None),
]
COLUMNS = ["benchmark", "task", "question", "value", "log_probability", "label", "cluster"]
RESULT = {
    "model": "m",
    "decomposition": "r1.x",
    "parameter_reduction_percent": 9.0,
    "settings": {"dtype": "float32", "limit": None},
    "provenance": {"device_name": "CPU"},
    "benchmarks": {
        "quiz": {"score": {"value": 0.5}, "settings": {"limit": 3}},
        "exam": {"score": {"value": 0.4}},
    },
}


@pytest.fixture
def folder(tmp_path):
    pd.DataFrame(ROWS, columns=COLUMNS).to_csv(tmp_path / "r1.x.csv", index=False)
    (tmp_path / "r1.x.json").write_text(json.dumps(RESULT))
    return tmp_path


def test_scores_are_those_of_one_benchmark_in_the_order_of_their_questions(folder):
    quiz = read_scores(folder, "r1.x", "quiz")
    # Numbers sort as numbers, whatever the other benchmark calls its questions.
    assert list(quiz.index) == [("s", 3), ("t", 2), ("t", 10)]
    assert quiz["value"].tolist() == [0.5, 1.0, 0.0]
    assert quiz["log_probability"].tolist()[1:] == [-0.5, -1.5]
    assert quiz["cluster"].iloc[0] == "null" and "label" not in quiz
    exam = read_scores(folder, "r1.x", "exam")
    assert list(exam.index) == [("u", "x6"), ("u", "x7")]
    assert exam["label"].tolist() == [0, 1] and "cluster" not in exam


def test_a_result_on_a_benchmark_knows_what_the_file_says(folder):
    quiz, exam = (benchmark_result(folder, "r1.x", name) for name in ("quiz", "exam"))
    assert quiz["score"] == {"value": 0.5} and exam["score"] == {"value": 0.4}
    assert quiz["settings"] == {"dtype": "float32", "limit": 3}
    assert exam["settings"] == {"dtype": "float32", "limit": None}
    assert quiz["model"] == "m" and quiz["provenance"]["device_name"] == "CPU"
    assert "benchmarks" not in quiz


def test_files_are_read_once_and_anew_when_they_change(folder, monkeypatch):
    opened = []
    monkeypatch.setattr(
        "lowrank.base.evaluations.pd.read_csv",
        lambda path, read=pd.read_csv, **options: opened.append(path) or read(path, **options),
    )
    assert read_scores(folder, "r1.x", "quiz") is read_scores(folder, "r1.x", "quiz")
    read_scores(folder, "r1.x", "exam")
    assert len(opened) == 1
    path = folder / "r1.x.csv"
    pd.DataFrame(ROWS[1:], columns=COLUMNS).to_csv(path, index=False)
    assert len(read_scores(folder, "r1.x", "quiz")) == 2
    state = path.stat()
    path.write_text(path.read_text().replace("0.75", "0.55"))  # as many bytes
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert read_scores(folder, "r1.x", "exam")["value"].tolist() == [0.55, 0.25]


@pytest.mark.parametrize("read", [read_scores, benchmark_result])
def test_what_is_missing_is_named(folder, read):
    with pytest.raises(LowrankError, match=r"r1\.x\.(csv|json) has no \w+ on other"):
        read(folder, "r1.x", "other")
    with pytest.raises(LowrankError, match=r"r2\.(csv|json) cannot be read"):
        read(folder, "r2", "quiz")


def test_files_that_make_no_sense_are_named(folder):
    table = pd.DataFrame([*ROWS, ROWS[0]], columns=COLUMNS)
    table.to_csv(folder / "twice.csv", index=False)
    with pytest.raises(
        LowrankError, match=r"twice\.csv cannot be read \(question 2 is there twice"
    ):
        read_scores(folder, "twice", "quiz")
    table.drop(columns="benchmark").to_csv(folder / "old.csv", index=False)
    with pytest.raises(LowrankError, match=r"old\.csv cannot be read"):
        read_scores(folder, "old", "quiz")
    for text in ("{", "[]", '{"benchmarks": []}', '{"score": {}}'):
        (folder / "old.json").write_text(text)
        with pytest.raises(LowrankError, match=r"old\.json"):
            read_result(folder, "old")
