"""Requests prepared once: lm-eval's own tokens, of the questions that are asked."""

import pyarrow.parquet
import pytest
import tiny
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lowrank.assets.choice import SUBSET, choose_questions, read_questions
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml
from lowrank.evaluate.packed.lm import PackedLM
from lowrank.evaluate.requests import (
    POSITION,
    asked_facts,
    original_positions,
    prepare_requests,
    read_requests,
)
from transformers import AutoModelForCausalLM

SETTINGS = {"limit": 7, "seed": 3, "sampling": "random", "max_new_tokens": 8}
ROWS = {
    "arc_easy": tiny.arc_rows(20),
    "winogrande": tiny.winogrande_rows(20),
    "gsm8k": tiny.pa.Table.from_pylist(
        [{"question": tiny.words(k, 6), "answer": f"so #### {k}"} for k in range(12)]
    ),
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny.save_model(tmp_path_factory.mktemp("model") / "weights")


@pytest.fixture(params=ROWS)
def prepared(request, weights, tmp_path):
    name = request.param
    entry = {"generation": False} | read_yaml(f"config/benchmarks/{name}.yaml")
    table = ROWS[name].append_column(SUBSET, tiny.pa.array([""] * len(ROWS[name])))
    tiny.write_parquet(table, tmp_path / "questions.parquet")
    arguments = (weights, tmp_path / "questions.parquet", entry | {"name": name}, SETTINGS)
    prepare_requests(*arguments, tmp_path / "asked.parquet", tmp_path / "requests.parquet")
    return table, tmp_path


def test_the_questions_asked_are_those_chosen(prepared):
    table, folder = prepared
    asked = read_questions(folder / "asked.parquet")
    positions = choose_questions([""] * len(table), 7, 3)[""]
    assert original_positions(asked) == {"": positions}
    assert asked.drop_columns([POSITION]).to_pylist() == table.take(positions).to_pylist()
    facts = asked_facts(asked, "asked")
    assert facts["available"] == len(table)
    assert facts["questions_sha256"] == tiny.sha256(folder / "questions.parquet")


def test_tokens_are_lm_evals_own(prepared, weights):
    _, folder = prepared
    rows = pyarrow.parquet.read_table(folder / "requests.parquet").to_pylist()
    assert len(rows) >= 7
    model = AutoModelForCausalLM.from_pretrained(weights)
    lm = HFLM(pretrained=model, tokenizer=tiny.tokenizer(), backend="causal")
    for row in rows:
        if row["kind"] == "loglikelihood":
            expected = lm._encode_pair(row["context"], row["continuation"])
            assert (row["context_ids"], row["continuation_ids"]) == expected
        else:
            assert row["context_ids"] == lm.tok_batch_encode([row["context"]])[0][0].tolist()
            assert row["continuation_ids"] == []


def test_prepared_requests_are_not_tokenized_again(prepared, weights, monkeypatch):
    _, folder = prepared
    rows = pyarrow.parquet.read_table(folder / "requests.parquet").to_pylist()
    model = AutoModelForCausalLM.from_pretrained(weights)
    plain = PackedLM(model, tiny.tokenizer())
    lm = PackedLM(model, tiny.tokenizer(), prepared=read_requests(folder / "requests.parquet"))
    if rows[0]["kind"] == "loglikelihood":
        pairs = [(row["context"], row["continuation"]) for row in rows]
        requests = [Instance("loglikelihood", {}, pair, k) for k, pair in enumerate(pairs)]
        answer = "loglikelihood"
    else:
        settings = {"until": ["\n"], "max_gen_toks": 5}
        requests = [
            Instance("generate_until", {}, (row["context"], settings), k)
            for k, row in enumerate(rows)
        ]
        answer = "generate_until"
    expected = getattr(plain, answer)(requests, disable_tqdm=True)

    def refuse(*_, **__):
        raise AssertionError("tokenized again")

    monkeypatch.setattr(HFLM, "tok_encode", refuse)
    monkeypatch.setattr(HFLM, "tok_batch_encode", refuse)
    assert getattr(lm, answer)(requests, disable_tqdm=True) == expected


def test_another_file_is_refused_in_one_line(prepared):
    table, _ = prepared
    with pytest.raises(LowrankError, match=r"^q does not say what its questions were chosen"):
        asked_facts(table, "q")
