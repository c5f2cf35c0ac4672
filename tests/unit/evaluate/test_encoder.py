"""Encoders scored end to end on tiny models, and MRPC's score against values by hand."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import tiny
import tiny_bert
import torch
from lowrank.analyse.accuracy import collect_accuracy
from lowrank.assets.choice import SUBSET, choose_questions
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, read_yaml, write_json
from lowrank.decompose.compressed import compress
from lowrank.decompose.layer_factors import factorize_layer
from lowrank.decompose.loading import load_base
from lowrank.evaluate import encoder
from lowrank.evaluate.encoder import evaluate
from lowrank.evaluate.metrics.mrpc import embed, summarize
from lowrank.evaluate.metrics.squad import f1
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from sklearn.metrics import average_precision_score

SETTINGS = {
    "limit": 9,
    "seed": 3,
    "sampling": "random",
    "dtype": "float32",
    "device": "cpu",
    "batch_size": 4,
    "max_new_tokens": None,
}
MODELS = {"mrpc": tiny_bert.ENCODER, "squad": tiny_bert.ANSWERING}
TABLES = {"mrpc": tiny_bert.pair_rows(20), "squad": tiny_bert.question_rows(10)}
OPTIONS = {
    "mrpc": {"max_length": 60},
    "squad": {"max_length": 40, "stride": 10, "n_best": 5, "max_answer_length": 10},
}


def samples_of(pairs):
    return [{"similarity": similarity, "label": label} for similarity, label in pairs]


def test_average_precision_by_hand():
    # Ranked: 1 0 1 1 0, precision at the paraphrases 1/1, 2/3 and 3/4.
    pairs = [(0.9, 1), (0.8, 0), (0.7, 1), (0.6, 1), (0.5, 0)]
    score = summarize(samples_of(pairs), "average_precision")
    assert score["value"] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert score["interval_95"][0] <= score["value"] <= score["interval_95"][1]
    assert score["standard_error"] > 0 and score["questions"] == 5
    assert summarize(samples_of(pairs), "average_precision") == score


def test_average_precision_of_no_order_is_the_share_of_paraphrases():
    samples = samples_of([(0.5, label) for label in (1, 1, 0, 1)])
    assert summarize(samples, "average_precision")["value"] == 0.75


@pytest.mark.parametrize(
    ("pairs", "metric", "message"),
    [
        ([(0.5, 0)], "average_precision", "none of the pairs is a paraphrase"),
        ([(float("nan"), 1)], "average_precision", "not finite"),
        ([(0.5, 1)], "acc", "no metric 'acc'"),
    ],
)
def test_scores_that_do_not_exist(pairs, metric, message):
    with pytest.raises(LowrankError, match=message):
        summarize(samples_of(pairs), metric)


def test_embeddings_are_means_over_a_sentence_alone(tmp_path):
    """Padding in a batch changes nothing: each text by itself gives the same embedding."""
    model = load_base(tiny_bert.save_model(tmp_path / "w", tiny_bert.ENCODER), "float32")
    tokenizer = tiny_bert.tokenizer()
    texts = [tiny.words(index, 1 + index) for index in range(5)]
    made = embed(model, tokenizer, texts, 60, batch_size=3).numpy()
    for text, row in zip(texts, made, strict=True):
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy()
        mean = states.mean(axis=0)
        assert row == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)


@pytest.fixture(scope="module", params=MODELS)
def evaluated(request, tmp_path_factory):
    """A tiny model, dense and compressed, scored on tiny questions of its kind."""
    name = request.param
    folder = tmp_path_factory.mktemp(name)
    architecture = Architecture.from_config(MODELS[name])
    tiny_bert.save_model(folder / "weights", MODELS[name])
    write_json(folder / "manifest.json", {"files": {}, "source": "test"})
    factors = folder / "f.safetensors"
    factorize_layer(folder / "weights", architecture, 2, 2, "tucker", factors)
    table = TABLES[name]
    table = table.append_column(SUBSET, tiny.pa.array([""] * len(table)))
    tiny.write_parquet(table, folder / "questions.parquet")
    entry = read_yaml(f"config/benchmarks/{name}.yaml") | {"name": name, "options": OPTIONS[name]}
    for layers in ([], [2]):
        decomposition = Decomposition.make(architecture, layers, rank=2)
        target = folder / decomposition.name(architecture)
        manifest = folder / "manifest.json"
        compress(architecture, "tiny", manifest, decomposition, {2: factors}, target)
        evaluate(
            folder / "weights",
            target,
            folder / "questions.parquet",
            entry,
            SETTINGS,
            target / "result.json",
            target / "samples.jsonl",
            target / "scores.csv",
        )
    return name, folder, table


def test_result_is_that_of_its_samples(evaluated):
    name, folder, table = evaluated
    result = read_json(folder / "tucker-r2-l2-all" / "result.json")
    lines = (folder / "tucker-r2-l2-all" / "samples.jsonl").read_text().splitlines()
    samples = [json.loads(line) for line in lines]
    chosen = choose_questions(table[SUBSET].to_pylist(), 9, 3)[""]
    assert [sample["doc_id"] for sample in samples] == chosen
    assert result["questions"] == {"asked": 9, "available": len(table)}
    assert result["benchmark"] == name and result["decomposition"] == "tucker-r2-l2-all"
    assert 0 < result["parameter_reduction_percent"] < 100
    assert result["samples_sha256"] == tiny.sha256(folder / "tucker-r2-l2-all" / "samples.jsonl")
    assert result["provenance"]["seed"] == 3 and result["settings"]["options"] == OPTIONS[name]
    rows = table.to_pylist()
    if name == "mrpc":
        assert [sample["label"] for sample in samples] == [rows[p]["label"] for p in chosen]
        ranked = sorted(samples, key=lambda sample: -sample["similarity"])
        hits = np.cumsum([sample["label"] for sample in ranked])
        precisions = [hits[i] / (i + 1) for i, sample in enumerate(ranked) if sample["label"]]
        assert result["score"]["value"] == pytest.approx(np.mean(precisions))
    else:
        values = [
            max(
                f1(sample["prediction"], gold) for gold in rows[sample["doc_id"]]["answers"]["text"]
            )
            for sample in samples
        ]
        assert result["score"]["value"] == pytest.approx(np.mean(values))
        assert set(result["results"]) == {"exact_match", "f1"}


def test_collect_accuracy_takes_the_results(evaluated):
    name, folder, _ = evaluated
    for target in ("dense", "tucker-r2-l2-all"):
        for source, copy in (("result.json", f"{name}.json"), ("scores.csv", f"{name}.csv")):
            shutil.copy(folder / target / source, folder / target / copy)
    row = {"series": "", "label": "one", "position": None, "method": "tucker", "rank": 2}
    rows = [row | {"decomposition": "tucker-r2-l2-all"}]
    collect_accuracy(rows, {name: name.upper()}, folder, folder / "table.csv")
    table = pd.read_csv(folder / "table.csv")
    assert table["label"].tolist() == 2 * ["dense", "one"] and (table["questions"] == 9).all()
    result = read_json(folder / "tucker-r2-l2-all" / "result.json")
    assert table["score"][1] == pytest.approx(result["score"]["value"], abs=1e-6)
    assert (table["score_low"] <= table["score"] + 1e-9).all()
    assert table["parameter_reduction_percent"][0] == 0.0


def test_a_model_of_another_kind_is_refused(evaluated):
    name, folder, _ = evaluated
    other = {"mrpc": "squad", "squad": "mrpc"}[name]
    entry = {"name": other, "scorer": other, "metric": "f1", "options": {}}
    with pytest.raises(LowrankError, match=f"{other} is for .* models; tiny is "):
        questions, out = folder / "questions.parquet", folder / "x"
        evaluate(folder / "weights", folder / "dense", questions, entry, SETTINGS, out, out, out)


def test_a_pooler_that_is_not_there_is_noticed(tmp_path):
    architecture = Architecture.from_config(tiny_bert.ENCODER)
    tiny_bert.save_model(tmp_path / "weights", tiny_bert.BARE)
    write_json(tmp_path / "manifest.json", {"files": {}, "source": "test"})
    dense = Decomposition.make(architecture, [])
    compress(architecture, "tiny", tmp_path / "manifest.json", dense, {}, tmp_path / "dense")
    entry = {"name": "mrpc", "scorer": "mrpc", "metric": "average_precision", "options": {}}
    with pytest.raises(LowrankError, match="`add_pooling_layer: false`"):
        out = tmp_path / "x"
        evaluate(tmp_path / "weights", tmp_path / "dense", out, entry, SETTINGS, out, out, out)


def test_scores_are_what_a_paired_bootstrap_needs(evaluated):
    _, folder, _ = evaluated
    for target in ("dense", "tucker-r2-l2-all"):
        scores = pd.read_csv(folder / target / "scores.csv")
        result = read_json(folder / target / "result.json")
        if "label" in scores:
            value = average_precision_score(scores["label"], scores["value"])
        else:
            value = scores["value"].mean()
        assert value == pytest.approx(result["score"]["value"])
        assert len(scores) == result["questions"]["asked"]


@pytest.mark.parametrize("name", MODELS)
def test_a_killed_job_goes_on_where_it_was(name, tmp_path, monkeypatch):
    class Killed(BaseException):
        """Nothing in the library may catch it."""

    tiny_bert.save_model(tmp_path / "weights", MODELS[name])
    write_json(tmp_path / "manifest.json", {"files": {}, "source": "test"})
    architecture = Architecture.from_config(MODELS[name])
    dense = Decomposition.make(architecture, [])
    compress(architecture, "tiny", tmp_path / "manifest.json", dense, {}, tmp_path / "dense")
    table = TABLES[name].append_column(SUBSET, tiny.pa.array([""] * len(TABLES[name])))
    tiny.write_parquet(table, tmp_path / "questions.parquet")
    entry = read_yaml(f"config/benchmarks/{name}.yaml") | {"name": name, "options": OPTIONS[name]}
    scorer, asked = encoder.SCORERS[name], []

    def score(target, alive):
        def samples(model, tokenizer, rows, options, size):
            if len(asked) == alive:
                raise Killed
            asked.append(len(rows))
            return scorer.samples(model, tokenizer, rows, options, size)

        changed = dataclasses.replace(scorer, samples=samples)
        monkeypatch.setitem(encoder.SCORERS, name, changed)
        names = ("result.json", "samples.jsonl", "scores.csv")
        inputs = (tmp_path / "weights", tmp_path / "dense", tmp_path / "questions.parquet")
        settings = SETTINGS | {"batch_size": 2}
        evaluate(*inputs, entry, settings, *(tmp_path / target / file for file in names))
        return [(tmp_path / target / file).read_bytes() for file in names[1:]]

    monkeypatch.setattr(encoder, "BATCHES_IN_PART", 2)
    whole = score("whole", 9)
    assert asked == [4, 4, 1]
    with pytest.raises(Killed):
        score("killed", 5)
    assert (tmp_path / "killed" / "result.journal").exists()
    assert score("killed", 9) == whole
    assert asked == [4, 4, 1, 4, 4, 1]  # the last part alone was missing
    assert not (tmp_path / "killed" / "result.journal").exists()
