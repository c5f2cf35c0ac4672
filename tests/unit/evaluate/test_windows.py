"""Token perplexity, by transformers' own loss on the same windows of a text."""

import json
import math
import re

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
import scipy.stats
import tiny
import tiny_benchmarks
import torch
from lowrank.assets.choice import asking_order
from lowrank.base.errors import LowrankError
from lowrank.decompose.loading import load_compressed
from lowrank.evaluate import configuration
from lowrank.evaluate.store import asking_costs
from tiny_benchmarks import WINDOW, run, windows_case
from transformers import AutoModelForCausalLM, LlamaModel

NAME = "perplexity_prose"
TEXT = "\n".join(tiny.words(seed, 20) for seed in range(13)) + "\n\nthe tail is left\n"
COUNT = 13
"""Windows of the text; some of its tokens are two letters."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_benchmarks.save_compressed(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def windows():
    """The windows of the text, and the bytes of what is predicted in each."""
    made = tiny.tokenizer()(TEXT, return_offsets_mapping=True)
    ids, ends = np.array(made["input_ids"]), np.array(made["offset_mapping"])[:, 1]
    assert COUNT * WINDOW < len(ids) < (COUNT + 1) * WINDOW  # a tail is left
    windows_WT = ids[: COUNT * WINDOW].reshape(COUNT, WINDOW)
    ends_WT = ends[: COUNT * WINDOW].reshape(COUNT, WINDOW)
    return windows_WT, ends_WT[:, -1] - ends_WT[:, 0]


@pytest.fixture(scope="module")
def losses(model, windows):
    """The mean negative log-likelihood of each window's predictions, as transformers has it."""
    dense = AutoModelForCausalLM.from_pretrained(model / "exported", dtype=torch.float32)
    windows_WT = torch.from_numpy(windows[0])
    with torch.no_grad():
        return np.array([float(dense(own[None], labels=own[None]).loss) for own in windows_WT])


def scores(folder):
    return pd.read_csv(folder / "scores.csv").set_index("question")


@pytest.mark.parametrize("scorer", ["packed", "hf"])
def test_equals_the_loss_of_transformers(scorer, model, windows, losses, tmp_path):
    run(model, tmp_path, [windows_case(TEXT, scorer, limit=None)])
    made, found = tiny_benchmarks.result(tmp_path, NAME), scores(tmp_path)
    assert sorted(found.index) == list(range(COUNT))
    assert found["value"].sort_index().to_numpy() == pytest.approx(losses, rel=1e-5)
    assert set(found["weight"]) == {WINDOW - 1}
    score = made["score"]
    assert score["value"] == pytest.approx(math.exp(losses.mean()), rel=1e-5)
    assert score["metric"] == "token_perplexity" and "chance" not in score
    reach = scipy.stats.t.ppf(0.975, COUNT - 1) * losses.std(ddof=1) / math.sqrt(COUNT)
    expected = np.exp([losses.mean() - reach, losses.mean() + reach])
    assert score["interval_95"] == pytest.approx(expected, abs=0.1 * np.ptp(expected))
    bits = losses.sum() * (WINDOW - 1) / math.log(2) / windows[1].sum()
    assert made["beside"]["bits_per_byte"]["value"] == pytest.approx(bits, rel=1e-5)
    assert made["questions"] == {"asked": COUNT, "available": COUNT}
    assert made["questions_sha256"] == tiny.sha256(tmp_path / NAME / "questions")
    assert (made["text"], made["length"]) == ("prose", WINDOW)
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [sample["bytes"] for sample in samples] == windows[1].tolist()
    total = sum(sample["log_likelihood"] for sample in samples)
    assert total == pytest.approx(-losses.sum() * (WINDOW - 1), rel=1e-5)


@pytest.mark.parametrize(("limit", "asked"), [(1, 4), (4, 4), (5, 8), (12, 12), (13, 13), (99, 13)])
def test_windows_are_asked_in_blocks_of_one_order(limit, asked, model, windows, losses, tmp_path):
    """The first ones of the order are wanted; a limit above what there is asks all."""
    run(model, tmp_path, [windows_case(TEXT, "packed", limit=limit)])
    order = asking_order([""] * COUNT, 3).tolist()
    wanted = sorted(order[:limit])
    found = scores(tmp_path)
    assert list(found.index) == wanted
    assert found["place"].to_list() == [order.index(position) for position in wanted]
    made = tiny_benchmarks.result(tmp_path, NAME)
    assert made["score"]["value"] == pytest.approx(math.exp(losses[wanted].mean()), rel=1e-5)
    assert made["questions"] == {"asked": len(wanted), "available": COUNT}
    rows = pyarrow.parquet.read_table(tmp_path / NAME / "requests.parquet").to_pylist()
    assert [row["question"] for row in rows] == sorted(order[:asked])
    for row in rows:
        assert row["context_ids"] + row["continuation_ids"] == windows[0][row["question"]].tolist()
        assert row["context"] + row["continuation"] in TEXT


@pytest.mark.parametrize("scorer", ["packed", "hf"])
def test_each_window_is_asked_once(scorer, model, tmp_path, monkeypatch):
    """More windows equal a fresh run to the byte, and what the store holds loads no model."""
    answers, passes = tmp_path / "answers", []
    forward = LlamaModel.forward

    def counted(*arguments, **options):
        passes.append(1)
        return forward(*arguments, **options)

    monkeypatch.setattr(LlamaModel, "forward", counted)
    for limit, asked in ((3, 4), (4, 4), (9, 12), (None, COUNT)):
        grown, fresh = tmp_path / f"grown {limit}", tmp_path / f"fresh {limit}"
        cases = [windows_case(TEXT, scorer, limit=limit)]
        run(model, grown, cases, answers)
        run(model, fresh, cases)
        for name in tiny_benchmarks.OUTPUTS[1:]:
            assert (grown / name).read_bytes() == (fresh / name).read_bytes()
        (folder,) = {path.parent.parent for path in answers.rglob("*.parquet")}
        assert asking_costs([folder])[NAME][0] == asked
    passes.clear()
    run(model, tmp_path / "again", [windows_case(TEXT, scorer, limit=None)], answers)
    assert passes == []
    assert (tmp_path / "again/scores.csv").read_bytes() == (fresh / "scores.csv").read_bytes()


def test_another_length_is_another_question(model, tmp_path):
    entry, text, settings = windows_case(TEXT, "packed", limit=None)
    other = entry | {"name": "perplexity_short", "length": WINDOW // 2}
    run(model, tmp_path, [(entry, text, settings), (other, text, settings)])
    long, short = (tiny_benchmarks.result(tmp_path, name) for name in (NAME, "perplexity_short"))
    assert long["score"]["value"] != short["score"]["value"]
    assert short["questions"]["available"] == 2 * COUNT
    found = pd.read_csv(tmp_path / "scores.csv").groupby("benchmark")["weight"].first()
    assert found.to_dict() == {NAME: WINDOW - 1, "perplexity_short": WINDOW // 2 - 1}


def test_letters_of_several_bytes(model, tmp_path):
    """A letter that the edge of a window cuts counts a byte or two more or less."""
    text = "Größe über Maße – " * 40
    run(model, tmp_path, [windows_case(text, "packed", limit=None)])
    ids = tiny.tokenizer()(text)["input_ids"]
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == len(ids) // WINDOW >= 5
    for sample in samples:  # the tokens of the tiny tokenizer are bytes, but for two merges
        assert sample["bytes"] == pytest.approx(WINDOW - 1, abs=6)


@pytest.mark.parametrize("scorer", ["packed", "hf"])
@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_window_whose_likelihood_is_not_finite(bad, scorer, model, tmp_path, monkeypatch):
    def overflown(*arguments):
        loaded, manifest = load_compressed(*arguments)
        head, token = loaded.get_output_embeddings(), torch.tensor([7])
        head.register_forward_hook(lambda _, inputs, logits: logits.index_fill(-1, token, bad))
        return loaded, manifest

    monkeypatch.setattr(configuration, "load_model", overflown)
    with pytest.raises(LowrankError) as raised:
        run(model, tmp_path, [windows_case(TEXT, scorer, limit=None)])
    assert re.fullmatch(
        rf"tiny, tucker-r1-l2-all, {NAME}, question \d+: the model's output is not finite in "
        "float32; there is no wider `dtype`: leave this configuration out",
        str(raised.value),
    )
    assert not any((tmp_path / made).exists() for made in tiny_benchmarks.OUTPUTS)


@pytest.mark.parametrize(
    ("change", "text", "says"),
    [
        ({}, "too short", r"perplexity_prose: the 9 tokens of .*questions have no window of 100"),
        ({"length": 513}, TEXT, r"perplexity_prose: its windows have 513 tokens, but .* reads 512"),
        ({"metric": "acc"}, TEXT, "windows have no metric 'acc'"),
        (
            {"beside": {"w": {"metric": "word_perplexity"}}},
            TEXT,
            "windows have no metric 'word_perplexity'; did you mean",
        ),
    ],
)
def test_mistakes_are_one_line(change, text, says, model, tmp_path):
    entry, _, settings = windows_case(text, "packed")
    with pytest.raises(LowrankError, match=says) as raised:
        run(model, tmp_path, [(entry | change, text, settings)])
    assert "\n" not in str(raised.value)
