"""Encoders scored end to end on tiny models, and MRPC's score against values by hand."""

import importlib
import json
import math
import re
import shutil
from pathlib import Path, PurePath

import grimp
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
import tiny
import tiny_bert
from lowrank.analyse.accuracy import collect_accuracy
from lowrank.assets.choice import SUBSET, asking_order
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, read_yaml, write_json
from lowrank.base.metric import Metric
from lowrank.decompose.compressed import compress
from lowrank.decompose.layer_factors import factorize_layer
from lowrank.decompose.loading import load_compressed
from lowrank.evaluate import configuration, encoder
from lowrank.evaluate.encoder import evaluate
from lowrank.evaluate.metrics.squad import f1
from lowrank.evaluate.store import ANSWERING
from lowrank.project.scorers import SCORERS
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from sklearn.metrics import average_precision_score

ASKING = {"limit": 9, "block": 4, "seed": 3, "sampling": "random", "max_new_tokens": None}
RUN = {
    "seed": 3,
    "sampling": "random",
    "dtype": "float32",
    "device": "cpu",
    "scorer": "packed",
    "batch_size": 4,
}
OUTPUTS = ("result.json", "samples.jsonl", "scores.csv")
MODELS = {"mrpc": tiny_bert.ENCODER, "squad": tiny_bert.ANSWERING}
TABLES = {"mrpc": tiny_bert.pair_rows(20), "squad": tiny_bert.question_rows(10)}
OPTIONS = {
    "mrpc": {"max_length": 60},
    "squad": {"max_length": 40, "stride": 10, "n_best": 5, "max_answer_length": 10},
}


def entry_of(name):
    return read_yaml(f"config/benchmarks/{name}.yaml") | {"name": name, "options": OPTIONS[name]}


def score(made, target, output, entry, asking=ASKING, settings=RUN, answers=None):
    """Evaluate a compressed model on one benchmark; return the paths of the three files."""
    outputs = [output / name for name in OUTPUTS]
    benchmarks = [{"entry": entry, "settings": asking}]
    inputs = (made / "weights", made / target, benchmarks, settings, answers or output / "answers")
    evaluate(*inputs, *outputs, [made / "questions.parquet"])
    return outputs


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
    for layers in ([], [2]):
        decomposition = Decomposition.make(architecture, layers, rank=2)
        target = decomposition.name(architecture)
        manifest = folder / "manifest.json"
        compress(architecture, "tiny", manifest, decomposition, {2: factors}, folder / target)
        score(folder, target, folder / target, entry_of(name), answers=folder / "answers")
    return name, folder, table


def result_of(folder, name):
    return read_json(folder / "result.json")["benchmarks"][name]


def test_result_is_that_of_its_samples(evaluated):
    name, folder, table = evaluated
    target = folder / "tucker-r2-l2-all"
    whole, result = read_json(target / "result.json"), result_of(target, name)
    samples = [json.loads(line) for line in (target / "samples.jsonl").read_text().splitlines()]
    order = asking_order([""] * len(table), 3)
    chosen = sorted(order[:9].tolist())
    assert [sample["doc_id"] for sample in samples] == chosen
    assert {sample["benchmark"] for sample in samples} == {name}
    assert result["questions"] == {"asked": 9, "available": len(table)}
    assert whole["decomposition"] == "tucker-r2-l2-all"
    assert 0 < whole["parameter_reduction_percent"] < 100
    assert whole["samples_sha256"] == tiny.sha256(target / "samples.jsonl")
    assert whole["provenance"]["seed"] == 3 and result["options"] == OPTIONS[name]
    scores = pd.read_csv(target / "scores.csv")
    places = {int(row): place for place, row in enumerate(order)}
    assert scores["place"].tolist() == [places[row] for row in scores["question"]]
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


def test_collect_accuracy_takes_the_results(evaluated, tmp_path):
    name, folder, _ = evaluated
    for target in ("dense", "tucker-r2-l2-all"):
        shutil.copy(folder / target / "result.json", tmp_path / f"{target}.json")
        shutil.copy(folder / target / "scores.csv", tmp_path / f"{target}.csv")
    row = {"series": "", "label": "one", "position": None, "method": "tucker", "rank": 2}
    rows = [row | {"decomposition": "tucker-r2-l2-all"}]
    metric = {"mrpc": "average_precision", "squad": "f1"}[name]
    benchmark = {"label": name.upper(), "metric": Metric.from_config(metric).as_record()}
    collect_accuracy(rows, {name: benchmark}, tmp_path, tmp_path / "table.csv")
    table = pd.read_csv(tmp_path / "table.csv")
    assert table["label"].tolist() == 2 * ["dense", "one"] and (table["questions"] == 9).all()
    result = result_of(folder / "tucker-r2-l2-all", name)
    assert table["score"][1] == pytest.approx(result["score"]["value"], abs=1e-6)
    assert (table["score_low"] <= table["score"] + 1e-9).all()
    assert table["parameter_reduction_percent"][0] == 0.0


def test_a_model_of_another_kind_is_refused(evaluated, tmp_path):
    name, folder, _ = evaluated
    other = {"mrpc": "squad", "squad": "mrpc"}[name]
    metric = {"mrpc": "average_precision", "squad": "f1"}[other]
    entry = {"name": other, "scorer": other, "metric": metric, "options": {}}
    with pytest.raises(LowrankError, match=f"{other} is for .* models; tiny is "):
        score(folder, "dense", tmp_path, entry)


def test_inputs_that_the_model_cannot_read_are_refused(evaluated, tmp_path):
    name, folder, _ = evaluated
    entry = entry_of(name) | {"options": OPTIONS[name] | {"max_length": 65}}
    message = f"{name}: its inputs may have 65 tokens, but tiny reads 64 at once; set `max_length"
    with pytest.raises(LowrankError, match=message):
        score(folder, "dense", tmp_path, entry)


def test_questions_without_what_is_scored_are_refused(evaluated, tmp_path):
    """Said with the benchmark's name, before the first is asked."""
    name, folder, table = evaluated
    column, hidden = {"mrpc": ("label", -1), "squad": ("answers", {"text": []})}[name]
    rows = [row | {column: hidden} for row in table.to_pylist()]
    made = tmp_path / "made"
    made.mkdir()
    for part in ("weights", "dense"):
        (made / part).symlink_to(folder / part)
    tiny.write_parquet(tiny.pa.Table.from_pylist(rows), made / "questions.parquet")
    with pytest.raises(LowrankError, match=f"^{name}: .*(SQuAD v2|a test split may hide it)"):
        score(made, "dense", tmp_path, entry_of(name))


def test_a_metric_that_the_scorer_lacks_is_refused(evaluated, tmp_path):
    name, folder, _ = evaluated
    entry = {"name": name, "scorer": name, "metric": "acc", "options": {}}
    with pytest.raises(LowrankError, match=f"^{name} has no metric 'acc'; known: "):
        score(folder, "dense", tmp_path, entry)
    beside = entry_of(name) | {"beside": {"other": {"metric": "acc"}}}
    with pytest.raises(LowrankError, match=f"^{name} has no metric 'acc'; known: "):
        score(folder, "dense", tmp_path, beside)
    own = {"mrpc": "average_precision", "squad": "f1"}[name]
    filtered = entry_of(name) | {"metric": f"{own},strict-match"}
    with pytest.raises(LowrankError, match=f"^{name} has no metric '.*,strict-match'; "):
        score(folder, "dense", tmp_path, filtered)


def test_answers_that_are_not_finite_are_no_scores(evaluated, tmp_path, monkeypatch):
    """An activation too large for the number format, as half precision has them."""
    name, folder, table = evaluated

    def overflown(*arguments):
        model, manifest = load_compressed(*arguments)
        embeddings = model.get_input_embeddings()
        embeddings.register_forward_hook(lambda _, inputs, hidden: hidden.fill_(math.inf))
        return model, manifest

    monkeypatch.setattr(configuration, "load_model", overflown)
    with pytest.raises(LowrankError) as raised:
        score(folder, "dense", tmp_path, entry_of(name), settings=RUN | {"dtype": "bfloat16"})
    found = re.fullmatch(
        rf"tiny, dense, {name}, question (\d+): the model's output is not finite in bfloat16; "
        "set `dtype: float32`",
        str(raised.value),
    )
    assert int(found[1]) in asking_order([""] * len(table), 3)[:4]  # of the first block
    assert not list(tmp_path.iterdir())  # neither a result nor answers


def test_a_pooler_that_is_not_there_is_noticed(tmp_path):
    architecture = Architecture.from_config(tiny_bert.ENCODER)
    tiny_bert.save_model(tmp_path / "weights", tiny_bert.BARE)
    write_json(tmp_path / "manifest.json", {"files": {}, "source": "test"})
    dense = Decomposition.make(architecture, [])
    compress(architecture, "tiny", tmp_path / "manifest.json", dense, {}, tmp_path / "dense")
    table = TABLES["mrpc"].append_column(SUBSET, tiny.pa.array([""] * len(TABLES["mrpc"])))
    tiny.write_parquet(table, tmp_path / "questions.parquet")
    with pytest.raises(LowrankError, match="`add_pooling_layer: false`"):
        score(tmp_path, "dense", tmp_path, entry_of("mrpc"))


def test_scores_are_what_a_paired_bootstrap_needs(evaluated):
    name, folder, _ = evaluated
    for target in ("dense", "tucker-r2-l2-all"):
        scores = pd.read_csv(folder / target / "scores.csv")
        result = result_of(folder / target, name)
        if "label" in scores:
            value = average_precision_score(scores["label"], scores["value"])
        else:
            value = scores["value"].mean()
        assert value == pytest.approx(result["score"]["value"])
        assert len(scores) == result["questions"]["asked"]
        assert ("cluster" in scores) == (name == "squad")
        if "cluster" in scores:
            assert scores["cluster"].nunique() == result["score"]["clusters"] == len(scores)


@pytest.fixture
def blocks(evaluated, monkeypatch):
    """The numbers of questions that the model is asked together; a kill before one of them."""
    metrics, asked = importlib.import_module(SCORERS[evaluated[0]].metrics), []
    answer_questions = metrics.answer_questions

    def counted(model, tokenizer, rows, options, size):
        if len(asked) == alive[0]:
            raise Killed
        asked.append(len(rows))
        return answer_questions(model, tokenizer, rows, options, size)

    alive = [10**6]
    monkeypatch.setattr(metrics, "answer_questions", counted)
    return asked, alive


class Killed(BaseException):
    """Nothing in the library may catch it."""


def content(outputs):
    """Bytes of samples and of scores, and what the result says of benchmarks."""
    return [
        read_json(outputs[0])["benchmarks"],
        outputs[1].read_bytes(),
        outputs[2].read_bytes(),
    ]


@pytest.mark.parametrize("killed_after", [0, 1, 2])
def test_a_killed_job_goes_on_where_it_was(evaluated, blocks, tmp_path, killed_after):
    name, folder, table = evaluated
    asked, alive = blocks
    whole = content(score(folder, "dense", tmp_path / "whole", entry_of(name)))
    available = len(table)
    assert asked == [4, 4, min(4, available - 8)]
    asked.clear()
    alive[0] = killed_after
    with pytest.raises(Killed):
        score(folder, "dense", tmp_path / "killed", entry_of(name))
    assert len(asked) == killed_after
    alive[0] = 10**6
    assert content(score(folder, "dense", tmp_path / "killed", entry_of(name))) == whole
    assert len(asked) == 3  # the missing blocks alone


def test_more_questions_equal_a_fresh_run_to_the_byte(evaluated, blocks, tmp_path):
    name, folder, table = evaluated
    asked, _ = blocks
    for limit in (3, 8, 9, None):
        asking = ASKING | {"limit": limit}
        fresh = content(score(folder, "dense", tmp_path / f"{limit}", entry_of(name), asking))
        expected = sum(asked)
        asked.clear()
        answers = tmp_path / "answers"
        before = _count(answers)
        grown = score(folder, "dense", tmp_path / "grown", entry_of(name), asking, RUN, answers)
        assert content(grown) == fresh
        assert sum(asked) == expected - before == _count(answers) - before
        asked.clear()
    assert _count(answers) == len(table)
    assert [path.name for path in Path(answers, "tiny").iterdir()] == ["dense"]


def _count(answers):
    """How many answers a store holds."""
    files = answers.rglob("*.parquet")
    return sum(pyarrow.parquet.read_metadata(path).num_rows for path in files)


def test_a_damaged_file_is_asked_again(evaluated, blocks, tmp_path, caplog):
    name, folder, _ = evaluated
    asked, _ = blocks
    whole = content(score(folder, "dense", tmp_path, entry_of(name)))
    (path,) = (tmp_path / "answers").rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:-40])
    asked.clear()
    assert content(score(folder, "dense", tmp_path, entry_of(name))) == whole
    assert len(asked) == 3 and caplog.text.count("is damaged") == 1
    asked.clear()
    assert content(score(folder, "dense", tmp_path, entry_of(name))) == whole
    assert asked == []


@pytest.mark.parametrize("other", ["options", "block"])
def test_other_options_and_blocks_are_other_answers(evaluated, blocks, tmp_path, other):
    name, folder, _ = evaluated
    asked, _ = blocks
    entry, asking = entry_of(name), dict(ASKING)
    score(folder, "dense", tmp_path, entry, asking)
    before = len(asked)
    if other == "options":
        entry["options"] = entry["options"] | {"max_length": 38}
    else:
        asking["block"] = 3
    score(folder, "dense", tmp_path, entry, asking)
    assert len(asked) == before + 3


def test_code_that_answers_for_encoders_is_all_named():
    """What the modules of metrics import is part of an answer's key, or it shapes none."""
    graph = grimp.build_graph("lowrank", exclude_type_checking_imports=True, cache_dir=None)
    metrics = graph.find_children("lowrank.evaluate.metrics")
    own = {scorer.metrics for scorer in SCORERS.values() if scorer.task != "causal"}
    assert metrics >= own - {None}
    imported = set(metrics).union(*(graph.find_upstream_modules(module) for module in metrics))
    unnamed = set()
    for module in imported:
        file = PurePath(*module.split(".")[1:]).with_suffix(".py")
        if not any(file.is_relative_to(place) for place in (*encoder.METRICS_CODE, *ANSWERING)):
            unnamed.add(module)
    # These say why there is no answer, and name columns of scores.
    assert unnamed <= {"lowrank.base.errors", "lowrank.base.names"}
