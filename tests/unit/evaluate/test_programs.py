"""pass@k of programs: from requests to the result, with programs whose outcomes are known."""

import json

import numpy as np
import pandas as pd
import pytest
import tiny_benchmarks
from lowrank.assets.choice import asking_order
from lowrank.base.errors import LowrankError
from lowrank.evaluate import programs
from lowrank.evaluate.packed.lm import PackedLM
from lowrank.sandbox.outcomes import ENDED, FAILED, PASSED
from lowrank.sandbox.programs import sandbox_kind
from tiny_benchmarks import ASKING, PROBLEMS, problems_case, run
from transformers import LlamaModel

COUNT = len(PROBLEMS)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    try:
        sandbox_kind()
    except LowrankError as error:
        pytest.skip(str(error))
    return tiny_benchmarks.save_compressed(tmp_path_factory.mktemp("model"))


def writes(number, sample):
    """What the model writes for a problem, and what becomes of it."""
    if (number + sample) % 3 == 0:
        return PROBLEMS[number]["canonical_solution"], PASSED
    if (number + sample) % 3 == 1:
        return "    import os\n    os._exit(0)\n", ENDED
    return "    return 'x'", FAILED


@pytest.fixture
def model_writes(monkeypatch):
    """Let the model write programs whose outcomes are known; return what it is asked for."""
    asked = []

    def generate_until(self, requests, disable_tqdm=False):
        texts = []
        for request in requests:
            context, options = request.args
            number = next(
                k for k, own in enumerate(PROBLEMS) if own["prompt"].strip() == context.strip()
            )
            texts.append(writes(number, options.get("sample", 0))[0])
            asked.append((number, options.get("sample", 0)))
        return texts

    monkeypatch.setattr(PackedLM, "generate_until", generate_until)
    return asked


def lines(folder):
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def test_greedy_programs(model, model_writes, tmp_path):
    run(model, tmp_path, [problems_case("humaneval", "packed", limit=None)])
    made = tiny_benchmarks.result(tmp_path, "humaneval")
    outcomes = [writes(number, 0)[1] for number in range(COUNT)]
    assert [line["outcome"] for line in lines(tmp_path)] == outcomes
    assert [line["passed"] for line in lines(tmp_path)] == [own == PASSED for own in outcomes]
    assert [line["completion"] for line in lines(tmp_path)] == [
        writes(number, 0)[0] for number in range(COUNT)
    ]
    assert made["score"]["value"] == pytest.approx(outcomes.count(PASSED) / COUNT)
    low, high = made["score"]["interval_95"]
    assert 0 < low < made["score"]["value"] < high < 1
    assert made["outcomes"] == {own: outcomes.count(own) for own in sorted(set(outcomes))}
    assert made["protocol"]["name"] == "greedy"
    assert made["sandbox"] == {
        **{"kind": "namespaces", "seconds": 20.0, "memory_mib": 256, "disk_mib": 16},
        **{"files": 256, "threads": 16, "answer_mib": 4},
    }
    table = pd.read_csv(tmp_path / "scores.csv")
    assert table["value"].tolist() == [float(own == PASSED) for own in outcomes]
    assert "log_probability" in table and table["log_probability"].isna().all()


def test_sampled_programs(model, model_writes, tmp_path):
    entry, table, settings = problems_case("humaneval_sampled", "packed", limit=None)
    entry["protocol"] = entry["protocol"] | {"samples": 4, "length": 200}
    entry["beside"] = {
        "pass_at_2": {"metric": {"name": "pass@2", "label": "2", "direction": "higher"}}
    }
    run(model, tmp_path, [(entry, table, settings)])
    made = tiny_benchmarks.result(tmp_path, "humaneval_sampled")
    passed = np.array([[writes(q, k)[1] == PASSED for k in range(4)] for q in range(COUNT)])
    assert made["score"]["value"] == pytest.approx(passed.mean())
    pairs = [(a, b) for a in range(4) for b in range(a)]
    expected = np.mean([[own[a] or own[b] for a, b in pairs] for own in passed])
    assert made["beside"]["pass_at_2"]["value"] == pytest.approx(expected)
    assert made["questions"] == {"asked": COUNT, "available": COUNT}
    assert [(line["doc_id"], line["sample"]) for line in lines(tmp_path)] == [
        (question, sample) for question in range(COUNT) for sample in range(4)
    ]
    assert [line["passed"] for line in lines(tmp_path)] == passed.ravel().tolist()


def test_further_samples_and_problems_ask_what_is_new(model, model_writes, tmp_path):
    answers = tmp_path / "answers"
    for samples, limit in ((2, 4), (2, 8), (3, 8)):
        entry, table, settings = problems_case("humaneval_sampled", "packed", limit=limit)
        entry["protocol"] = entry["protocol"] | {"samples": samples, "length": 200}
        entry["beside"] = {}
        model_writes.clear()
        run(model, tmp_path / f"{samples} {limit}", [(entry, table, settings)], answers)
        order = asking_order([""] * COUNT, ASKING["seed"]).tolist()
        new = {(2, 4): [(q, k) for q in order[:4] for k in range(2)]}
        new |= {(2, 8): [(q, k) for q in order[4:8] for k in range(2)]}
        new |= {(3, 8): [(q, 2) for q in order[:8]]}
        assert sorted(model_writes) == sorted(new[samples, limit])


def test_equal_programs_are_run_once(model, model_writes, tmp_path, monkeypatch):
    counts = []
    plain = programs.run_programs

    def counted(given, *arguments):
        counts.append(len(given))
        return plain(given, *arguments)

    monkeypatch.setattr(programs, "run_programs", counted)
    entry, table, settings = problems_case("humaneval_sampled", "packed", limit=4)
    entry["protocol"] = entry["protocol"] | {"samples": 9, "length": 200}
    entry["beside"] = {}
    run(model, tmp_path, [(entry, table, settings)])
    assert counts == [4 * 3] and len(lines(tmp_path)) == 4 * 9


@pytest.mark.parametrize("name", ["humaneval", "humaneval_sampled"])
def test_what_a_tiny_model_writes(name, model, tmp_path):
    """The same again, whatever else is asked beside it; and it solves nothing."""
    made = []
    for limit in (3, 9):
        entry, table, settings = problems_case(name, "packed", limit=limit)
        if name != "humaneval":
            entry["protocol"] = entry["protocol"] | {"samples": 2, "temperature": 1.5}
            entry["beside"] = {}
        run(model, tmp_path / str(limit), [(entry, table, settings)])
        made.append({(own["doc_id"], own["sample"]): own for own in lines(tmp_path / str(limit))})
    few, many = made
    assert few.items() <= many.items()
    assert not any(own["passed"] for own in many.values())
    assert len({own["completion"] for own in many.values()}) > 3


def test_nothing_is_asked_where_programs_cannot_be_run(model, tmp_path, monkeypatch):
    def refuse(accept_risk=False):
        raise LowrankError("programs of a model cannot be run safely here: a reason")

    def forward(*_, **__):
        raise AssertionError("the model is asked")

    monkeypatch.setattr(programs, "sandbox_kind", refuse)
    monkeypatch.setattr(LlamaModel, "forward", forward)
    with pytest.raises(LowrankError, match="cannot be run safely here"):
        run(model, tmp_path, [problems_case("humaneval", "packed")])


def test_the_risk_is_said_where_it_is_accepted(model, model_writes, tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "sandbox_kind", lambda accept_risk: "limits")
    run(model, tmp_path, [problems_case("humaneval", "packed", limit=4)])
    made = tiny_benchmarks.result(tmp_path, "humaneval")
    assert made["sandbox"]["kind"] == "limits"
    assert sum(made["outcomes"].values()) == 4


def test_lm_evals_own_class_draws_no_samples(model, tmp_path):
    entry, table, settings = problems_case("humaneval_sampled", "hf")
    entry["protocol"] = entry["protocol"] | {"samples": 2, "length": 200}
    entry["beside"] = {}
    with pytest.raises(LowrankError, match="sampled by the scorer `packed` alone"):
        run(model, tmp_path, [(entry, table, settings)])
    run(model, tmp_path, [problems_case("humaneval", "hf", limit=4)])
    assert tiny_benchmarks.result(tmp_path, "humaneval")["score"]["value"] == 0
