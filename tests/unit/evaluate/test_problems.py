"""Requests for programs, by the protocols of two harnesses, and solutions as continuations."""

import json
import math
from pathlib import Path

import lm_eval.tasks
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
import tiny
import tiny_benchmarks
import torch
import yaml
from lowrank.assets.choice import asking_order
from lowrank.base.errors import LowrankError
from lowrank.evaluate.preparing import prepare
from tiny_benchmarks import ASKING, PROBLEMS, problems_case, run
from transformers import AutoModelForCausalLM

CANONICAL = "humaneval_canonical"
SEED = ASKING["seed"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_benchmarks.save_compressed(tmp_path_factory.mktemp("model"))


def requests(model, folder, name, protocol=None, **changes):
    entry, table, settings = problems_case(name, "packed", **changes)
    if protocol is not None:
        entry["protocol"] = entry["protocol"] | protocol
    tiny.write_parquet(table, folder / "questions")
    asking = {key: settings[key] for key in ASKING}
    paths = folder / "asked", folder / "requests"
    prepare(model / "weights", folder / "questions", entry, asking, *paths)
    return [pyarrow.parquet.read_table(path).to_pylist() for path in paths]


def test_greedy_programs_are_asked_for_as_lm_eval_does(model, tmp_path):
    _, rows = requests(model, tmp_path, "humaneval", limit=None, max_new_tokens=50)
    assert [row["question"] for row in rows] == list(range(len(PROBLEMS)))
    for row, problem in zip(rows, PROBLEMS, strict=True):
        assert row["context"] == problem["prompt"]
        assert row["context_ids"] == tiny.tokenizer()(problem["prompt"])["input_ids"]
        assert (row["kind"], row["continuation"]) == ("generate_until", "")
    (options,) = {row["options"] for row in rows}

    task = Path(lm_eval.tasks.__file__).parent / "humaneval/humaneval.yaml"
    text = task.read_text().replace("!function ", "")
    theirs = yaml.safe_load(text)["generation_kwargs"]
    assert json.loads(options) == theirs | {"max_gen_toks": 50}
    assert len({row["key"] for row in rows}) == len(rows)


def test_sampled_programs_share_a_length_with_their_prompt(model, tmp_path):
    own = {"samples": 3, "length": 120}
    _, rows = requests(model, tmp_path, "humaneval_sampled", own, limit=None, max_new_tokens=None)
    assert [row["question"] for row in rows] == np.repeat(range(len(PROBLEMS)), 3).tolist()
    assert len({row["key"] for row in rows}) == len(rows)
    for number, row in enumerate(rows):
        assert row["context"] == PROBLEMS[row["question"]]["prompt"].strip()
        options = json.loads(row["options"])
        assert options.pop("until")[3] == "\n@"
        assert options == {
            **{"max_gen_toks": 120, "max_length": 120, "do_sample": True},
            **{"temperature": 0.2, "top_p": 0.95, "seed": SEED, "sample": number % 3},
        }


def test_further_samples_change_none(model, tmp_path):
    made = {}
    for samples in (2, 5):
        folder = tmp_path / str(samples)
        folder.mkdir()
        own = {"samples": samples, "length": 120}
        _, rows = requests(model, folder, "humaneval_sampled", own, limit=None)
        made[samples] = {row["key"] for row in rows}
    assert made[2] < made[5]


@pytest.mark.parametrize("name", ["humaneval", CANONICAL])
def test_a_limit_takes_the_first_of_the_order(name, model, tmp_path):
    _, rows = requests(model, tmp_path, name, limit=5)
    order = asking_order([""] * len(PROBLEMS), SEED).tolist()
    assert [row["question"] for row in rows] == sorted(order[:8])  # two whole blocks of four
    assert [row["place"] for row in rows] == [order.index(row["question"]) for row in rows]


def test_a_model_that_reads_too_little(model, tmp_path):
    with pytest.raises(LowrankError, match=r"humaneval: its windows have \d+ tokens, but .* 512"):
        requests(model, tmp_path, "humaneval", limit=None, max_new_tokens=None)
    with pytest.raises(LowrankError, match="humaneval_sampled: its windows have 513 tokens"):
        requests(model, tmp_path, "humaneval_sampled", {"length": 513}, limit=None)


def losses(model, problem):
    """Nats, tokens and bytes of a solution by transformers' loss, which leaves the prompt out."""
    dense = AutoModelForCausalLM.from_pretrained(model / "exported", dtype=torch.float32)
    prompt = problem["prompt"].rstrip()
    whole = problem["prompt"] + problem["canonical_solution"]
    made = tiny.tokenizer()(whole, return_offsets_mapping=True)
    ids = torch.tensor([made["input_ids"]])
    labels = ids.clone()
    first = next(k for k, (start, _) in enumerate(made["offset_mapping"]) if start >= len(prompt))
    labels[:, :first] = -100
    with torch.no_grad():
        loss = float(dense(ids, labels=labels).loss)
    count = ids.shape[1] - first
    return loss * count, count, len(whole.encode()) - len(prompt.encode())


@pytest.mark.parametrize("scorer", ["packed", "hf"])
def test_the_perplexity_of_solutions_is_the_loss_of_transformers(scorer, model, tmp_path):
    run(model, tmp_path, [problems_case(CANONICAL, scorer, limit=None, max_new_tokens=None)])
    made = tiny_benchmarks.result(tmp_path, CANONICAL)
    nats_Q, tokens_Q, bytes_Q = np.array([losses(model, problem) for problem in PROBLEMS]).T
    assert len(set(tokens_Q)) > 1
    expected = math.exp(nats_Q.sum() / tokens_Q.sum())
    assert made["score"]["value"] == pytest.approx(expected, rel=1e-5)
    bits = nats_Q.sum() / math.log(2) / bytes_Q.sum()
    assert made["beside"]["bits_per_byte"]["value"] == pytest.approx(bits, rel=1e-5)
    assert (made["context"], made["continuation"]) == ("prompt", "canonical_solution")
    table = pd.read_csv(tmp_path / "scores.csv")
    assert table["weight"].tolist() == tokens_Q.tolist()
    assert table["value"].to_numpy() == pytest.approx(nats_Q / tokens_Q, rel=1e-5)


def test_a_question_without_a_solution(model, tmp_path, monkeypatch):
    monkeypatch.setitem(PROBLEMS[3], "canonical_solution", " \n")
    with pytest.raises(LowrankError, match="question 3 has no context or no continuation"):
        requests(model, tmp_path, CANONICAL, limit=None)
