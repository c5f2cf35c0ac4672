"""Requests prepared once: lm-eval's own tokens, of the questions that are asked."""

import numpy as np
import pyarrow.parquet
import pytest
import tiny
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lowrank.assets.choice import SUBSET, asking_order, read_questions
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml
from lowrank.evaluate.requests import (
    PLACE,
    POSITION,
    REQUESTS,
    asked_facts,
    asked_questions,
    first_questions,
    generation_options,
    original_positions,
    places_of_questions,
    prepare_requests,
    read_requests,
)
from lowrank.evaluate.store import AnswerStore
from lowrank.evaluate.stored import StoredLM
from transformers import AutoModelForCausalLM

SETTINGS = {"limit": 7, "block": 4, "seed": 3, "sampling": "random", "max_new_tokens": 8}
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


def test_the_questions_asked_are_the_first_of_the_order_in_whole_blocks(prepared):
    table, folder = prepared
    asked = read_questions(folder / "asked.parquet")
    order = asking_order([""] * len(table), 3).tolist()
    positions = sorted(order[:8])
    assert original_positions(asked) == {"": positions}
    assert asked.drop_columns([POSITION, PLACE]).to_pylist() == table.take(positions).to_pylist()
    places = {("", position): order.index(position) for position in positions}
    assert places_of_questions(asked) == places
    facts = asked_facts(asked, "asked")
    assert facts["available"] == len(table)
    assert facts["questions_sha256"] == tiny.sha256(folder / "questions.parquet")
    rows = read_requests(folder / "requests.parquet")
    assert {(row["question"], row["place"]) for row in rows} == {
        (position, place) for (_, position), place in places.items()
    }
    wanted = first_questions(asked, 7)
    assert original_positions(wanted) == {"": sorted(order[:7])}
    assert first_questions(asked, None) == asked


@pytest.mark.parametrize("limit", [1, 7, 8, 9, 12, 13, 30, None])
def test_subsets_count_their_own_positions(limit):
    subsets = ["b"] * 12 + ["a"] * 18
    numbers = [*range(12), *range(18)]
    table = tiny.pa.table({"n": numbers, SUBSET: subsets})
    settings = SETTINGS | {"limit": limit, "block": 8}
    asked = asked_questions(table, settings)
    wanted = 30 if limit is None else limit
    assert len(asked) == min(30, 8 * -(-wanted // 8))
    assert asked["n"].to_pylist() == asked[POSITION].to_pylist()
    rows = [12 * (subset == "a") + n for subset, n in zip(*_columns(asked), strict=True)]
    assert rows == sorted(rows)
    order = asking_order(subsets, 3)
    assert [order[place] for place in asked[PLACE].to_pylist()] == rows
    found = first_questions(asked, limit)
    assert len(found) == wanted
    assert np.sort(found[PLACE].to_numpy()).tolist() == list(range(wanted))


def _columns(table):
    return table[SUBSET].to_pylist(), table["n"].to_pylist()


def test_tokens_are_lm_evals_own(prepared, weights):
    _, folder = prepared
    rows = pyarrow.parquet.read_table(folder / "requests.parquet").to_pylist()
    assert len(rows) >= 8
    model = AutoModelForCausalLM.from_pretrained(weights)
    lm = HFLM(pretrained=model, tokenizer=tiny.tokenizer(), backend="causal")
    for row in rows:
        if row["kind"] == "loglikelihood":
            expected = lm._encode_pair(row["context"], row["continuation"])
            assert (row["context_ids"], row["continuation_ids"]) == expected
        else:
            assert row["context_ids"] == lm.tok_batch_encode([row["context"]])[0][0].tolist()
            assert row["continuation_ids"] == []


def test_keys_are_of_tokens_and_of_how_they_are_split(prepared):
    """Equal keys are equal tokens, split alike, with equal settings of generation."""
    _, folder = prepared
    rows = read_requests(folder / "requests.parquet")
    asked = {
        (tuple(row["context_ids"]), tuple(row["continuation_ids"]), row["options"]) for row in rows
    }
    assert len({row["key"] for row in rows}) == len(asked) > 1
    assert pyarrow.parquet.read_table(folder / "requests.parquet").schema.equals(REQUESTS)


def test_equal_questions_make_equal_bytes(prepared, weights, tmp_path):
    table, folder = prepared
    name = next(name for name, rows in ROWS.items() if rows.column_names[0] in table.column_names)
    entry = {"generation": False} | read_yaml(f"config/benchmarks/{name}.yaml") | {"name": name}
    arguments = (weights, folder / "questions.parquet", entry, SETTINGS)
    prepare_requests(*arguments, tmp_path / "again_asked", tmp_path / "again_requests")
    for made in ("asked", "requests"):
        again = (tmp_path / f"again_{made}").read_bytes()
        assert again == (folder / f"{made}.parquet").read_bytes()


def test_a_store_answers_what_was_prepared_and_nothing_else(prepared, tmp_path):
    _, folder = prepared
    rows = read_requests(folder / "requests.parquet")
    store = AnswerStore(tmp_path / "answers", {})
    is_text = rows[0]["kind"] == "generate_until"
    answers = {
        row["key"]: f"text {k}" if is_text else (-float(k), k % 2 == 0)
        for k, row in enumerate(rows)
    }
    store.add(answers)
    stored = StoredLM(rows, store)
    expected = [answers[row["key"]] for row in rows]
    if is_text:
        options = tiny.json.loads(rows[0]["options"])
        assert generation_options(options) == rows[0]["options"]
        arguments = [(row["context"], options) for row in rows]
        other = (rows[0]["context"], options | {"max_gen_toks": 9})
        answer = stored.generate_until
    else:
        arguments = [(row["context"], row["continuation"]) for row in rows]
        other = (rows[0]["context"], rows[0]["continuation"] + " no")
        answer = stored.loglikelihood
    kind = rows[0]["kind"]
    made = [Instance(kind, {}, own, k) for k, own in enumerate(arguments)]
    assert answer(made) == expected
    with pytest.raises(LowrankError, match="^no request was prepared that begins with '"):
        answer([Instance(kind, {}, other, 0)])


def test_a_whole_text_is_answered_by_the_sum_of_its_windows(tmp_path):
    """Two questions of one text have its windows once, not twice."""
    store = AnswerStore(tmp_path / "answers", {})
    store.add({b"a": (-1.5, True), b"b": (-2.0, False), b"c": (-4.0, True)})
    asked = [(0, "long", b"a"), (0, "long", b"b"), (1, "short", b"c"), (2, "long", b"a")]
    asked.append((2, "long", b"b"))
    rows = [
        {"kind": "loglikelihood_rolling", "task": "t", "question": question, "key": key}
        | {"context": "", "continuation": text, "options": ""}
        for question, text, key in asked
    ]
    stored = StoredLM(rows, store)

    def asking(*texts):
        return [Instance("loglikelihood_rolling", {}, (text,), 0) for text in texts]

    assert stored.loglikelihood_rolling(asking("short", "long", "long")) == [-4.0, -3.5, -3.5]
    with pytest.raises(LowrankError, match="^no request was prepared that begins with 'other'"):
        stored.loglikelihood_rolling(asking("other"))


def test_another_file_is_refused_in_one_line(prepared):
    table, _ = prepared
    with pytest.raises(LowrankError, match=r"^q does not say what its questions were chosen"):
        asked_facts(table, "q")
