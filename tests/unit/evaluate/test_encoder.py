"""Encoders scored end to end on tiny models, and MRPC's score against values by hand."""

import importlib
import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
import tiny
import tiny_bert
from lowrank.analyse.accuracy import collect_accuracy
from lowrank.assets.choice import SUBSET, choose_questions
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, read_yaml, write_json
from lowrank.base.metric import Metric
from lowrank.decompose.compressed import compress
from lowrank.decompose.layer_factors import factorize_layer
from lowrank.evaluate import encoder
from lowrank.evaluate.encoder import evaluate
from lowrank.evaluate.metrics.squad import f1
from lowrank.project.scorers import SCORERS
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
    metric = {"mrpc": "average_precision", "squad": "f1"}[name]
    benchmark = {"label": name.upper(), "metric": Metric.from_config(metric).as_record()}
    collect_accuracy(rows, {name: benchmark}, folder, folder / "table.csv")
    table = pd.read_csv(folder / "table.csv")
    assert table["label"].tolist() == 2 * ["dense", "one"] and (table["questions"] == 9).all()
    result = read_json(folder / "tucker-r2-l2-all" / "result.json")
    assert table["score"][1] == pytest.approx(result["score"]["value"], abs=1e-6)
    assert (table["score_low"] <= table["score"] + 1e-9).all()
    assert table["parameter_reduction_percent"][0] == 0.0


def test_a_model_of_another_kind_is_refused(evaluated):
    name, folder, _ = evaluated
    other = {"mrpc": "squad", "squad": "mrpc"}[name]
    metric = {"mrpc": "average_precision", "squad": "f1"}[other]
    entry = {"name": other, "scorer": other, "metric": metric, "options": {}}
    with pytest.raises(LowrankError, match=f"{other} is for .* models; tiny is "):
        questions, out = folder / "questions.parquet", folder / "x"
        evaluate(folder / "weights", folder / "dense", questions, entry, SETTINGS, out, out, out)


def test_a_metric_that_the_scorer_lacks_is_refused(evaluated):
    name, folder, _ = evaluated
    entry = {"name": name, "scorer": name, "metric": "acc", "options": {}}
    with pytest.raises(LowrankError, match=f"^{name} has no metric 'acc'; known: "):
        questions, out = folder / "questions.parquet", folder / "x"
        evaluate(folder / "weights", folder / "dense", questions, entry, SETTINGS, out, out, out)


def test_answers_that_are_not_finite_are_no_scores(evaluated, tmp_path, monkeypatch):
    """An activation too large for the number format, as half precision has them."""
    name, folder, _ = evaluated

    def overflown(*arguments):
        model, manifest = encoder_loads(*arguments)
        embeddings = model.get_input_embeddings()
        embeddings.register_forward_hook(lambda _, inputs, hidden: hidden.fill_(math.inf))
        return model, manifest

    encoder_loads = encoder.load_compressed
    monkeypatch.setattr(encoder, "load_compressed", overflown)
    entry = read_yaml(f"config/benchmarks/{name}.yaml") | {"name": name, "options": OPTIONS[name]}
    inputs = folder / "weights", folder / "dense", folder / "questions.parquet"
    outputs = [tmp_path / name for name in ("result.json", "samples.jsonl", "scores.csv")]
    message = rf"^tiny, dense, {name}, question \d+: the model's output is not finite in bfloat16; "
    with pytest.raises(LowrankError, match=message + "set `dtype: float32`$"):
        evaluate(*inputs, entry, SETTINGS | {"dtype": "bfloat16"}, *outputs)
    assert not list(tmp_path.iterdir())  # nor a journal


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
        assert ("cluster" in scores) == (result["benchmark"] == "squad")
        if "cluster" in scores:
            assert scores["cluster"].nunique() == result["score"]["clusters"] == len(scores)


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
    metrics, asked = importlib.import_module(SCORERS[name].metrics), []
    answer_questions = metrics.answer_questions

    def score(target, alive):
        def counted(model, tokenizer, rows, options, size):
            if len(asked) == alive:
                raise Killed
            asked.append(len(rows))
            return answer_questions(model, tokenizer, rows, options, size)

        monkeypatch.setattr(metrics, "answer_questions", counted)
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
