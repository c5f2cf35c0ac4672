import copy
import json
import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml
from lowrank.project.configuration import Project

PAPER = read_yaml("config/config.yaml")


@pytest.fixture
def folder(tmp_path):
    """A copy of the registries that a test may edit."""
    shutil.copytree("config", tmp_path / "config")
    return tmp_path / "config"


def merged(*names):
    config = {}
    for name in ("config.yaml", *names):
        for key, value in read_yaml(f"config/{name}").items():
            both = isinstance(value, dict) and isinstance(config.get(key), dict)
            config[key] = {**config[key], **value} if both else value
    return config


@pytest.mark.parametrize("names", [(), ("laptop.yaml",), ("laptop.yaml", "ci.yaml")])
def test_shipped_scales_are_valid(names, monkeypatch):
    monkeypatch.delenv("LOWRANK_MIRROR", raising=False)
    monkeypatch.setenv("LOWRANK_HUB", "0" if names else "1")
    project = Project(merged(*names), "config")
    llama, bert = project.models.values()
    available = project.study_benchmarks("table_4_2", llama)
    named = project.study_benchmarks("table_4_2", llama, available=False)
    # TruthfulQA is not here without the hub, and the laptop leaves GSM8K out.
    expected = {(): (7, 7), ("laptop.yaml",): (5, 6), ("laptop.yaml", "ci.yaml"): (6, 7)}
    assert (len(available), len(named)) == expected[names]
    count = len(project.decompositions(llama))
    assert count == 21 if "ci.yaml" in names else count > 90
    assert project.studies_of(bert)[-1] == "bert_figure_3_6"


def test_every_published_number_is_of_a_configuration_that_is_asked(monkeypatch):
    monkeypatch.setenv("LOWRANK_HUB", "1")
    project = Project(merged("published.yaml"), "config")
    made = {}
    for model in project.models.values():
        rows = project.configurations("published_7b", model)
        made |= {
            (model.label, row.series, row.label): (row.decomposition, model.architecture)
            for row in rows
        }
        made[model.label, "", "dense"] = None
    numbers = pd.read_csv(project.study("published_7b")["published"], keep_default_na=False)
    for row in numbers.itertuples():
        assert (row.model, row.series, row.label) in made
        assert row.benchmark in ("perplexity_wikitext2", "winogrande")
        assert row.score > 1 and row.source
    (asked,) = {tuple(project.study_benchmarks("published_7b", m)) for m in project.models.values()}
    assert set(asked) == {"perplexity_wikitext2", "winogrande"} == set(project.benchmarks)
    # By hand: shares of 4 · 4096² + 3 · 4096 · 11008 weights a layer, all layers or those of ROM.
    removed = {
        key[1:]: float(own[0].removed_parameters(own[1]) / (32 * 202_375_168))
        for key, own in made.items()
        if own and key[0] == "LLaMA-7B"
    }
    assert removed["SVD-LLM", "20%"] == pytest.approx(0.2, abs=1e-3)
    assert removed["ROM", "20%"] == pytest.approx(12 / 32 * 0.54, abs=1e-3)
    assert removed["ROM", "50%"] == pytest.approx(24 / 32 * 0.67, abs=1e-3)
    square, wide = 4096**2, 4096 * 11008
    cuts = [2 * (square - 1432 * 8192), square - 1632 * 8192, 3 * (wide - 2384 * 15104)]
    # LoRD's factors have a bias, as long as the outputs of each module.
    bias = 3 * 4096 + 2 * 11008 + 4096
    assert removed["LoRD", "20%"] == pytest.approx((sum(cuts) - bias) / 202_375_168, abs=1e-9)


def test_truthfulqa_joins_with_a_mirror(monkeypatch, tmp_path):
    monkeypatch.setenv("LOWRANK_HUB", "0")
    (tmp_path / "truthfulqa").mkdir()
    (tmp_path / "truthfulqa" / "validation.parquet").touch()
    monkeypatch.setenv("LOWRANK_MIRROR", str(tmp_path))
    assert Project(merged("laptop.yaml"), "config").unavailable_benchmarks == []


def test_table_4_2_of_llama():
    project = Project(PAPER, "config")
    model = project.models["llama-2-7b-chat"]
    reductions = [
        row.decomposition.parameter_reduction(model.architecture)
        for row in project.configurations("table_4_2", model)
        if row.series == ""
    ]
    expected = ["6.00", "9.01", "15.01", "21.02", "33.02", "48.03", "60.04", "75.05", "84.06"]
    assert [f"{value:.2f}" for value in reductions] == [*expected, "96.07"]


def test_every_shipped_entry_is_valid():
    project = Project(PAPER, "config")
    for path in project.registry.folder.glob("models/*.yaml"):
        project.model(path.stem)
    benchmarks = {path.stem: {} for path in project.registry.folder.glob("benchmarks/*.yaml")}
    studies = [path.stem for path in project.registry.folder.glob("studies/*.yaml")]
    models = ["llama-2-7b", "minilm-l6", "bert-base-squad"]
    every = {"models": models, "benchmarks": benchmarks}
    for some in (["smoke"], [name for name in studies if name != "smoke"]):  # they share a figure
        own = every if "smoke" not in some else every | {"models": ["llama-2-7b"]}
        Project({**PAPER, **own, "studies": some}, "config")


@pytest.mark.parametrize("model", ["phi-3-mini-4k-instruct", "gemma-3-1b-it", "minilm-l6"])
def test_a_study_of_no_family_is_for_all(model):
    benchmark = "mrpc" if model == "minilm-l6" else "arc_easy"
    own = {"models": [model], "benchmarks": {benchmark: {}}, "studies": ["any_family"]}
    project = Project({**PAPER, **own}, "config")
    made = project.configurations("any_family", project.models[model])
    assert {row.label for row in made} >= {"one", "three", "attention of three", "MLP of three"}
    assert len({row.decomposition for row in made if not row.decomposition.is_dense}) > 4


BERT = {
    "models": ["minilm-l6", "bert-base-squad"],
    "studies": ["table_4_2", "bert_figure_3_4", "bert_figure_3_5", "bert_figure_3_6"],
    "benchmarks": {"mrpc": {}, "squad": {}, "arc_easy": {}},
}


@pytest.fixture
def bert(monkeypatch):
    monkeypatch.setenv("LOWRANK_HUB", "1")
    return Project({**PAPER, **BERT}, "config")


def test_methods_of_equal_budgets_remove_as_much_in_either_form():
    """Of the decoder's linear weights, as the label says, to the numbers of one rank a tensor."""
    config = merged("laptop.yaml", "methods.yaml")
    project = Project(config | {"hub": False}, "config")
    (model,) = project.models.values()
    shapes = model.architecture
    linear = shapes.layers * shapes.tensor_parameters()
    ranks = {}
    for row in project.configurations("methods", model):
        removed = row.decomposition.removed_parameters(shapes)
        if row.decomposition.method in ("tucker", "drop"):
            continue
        share = int(row.label.rstrip("%")) / 100
        biases = 0
        if row.decomposition.method == "lord":
            biases = shapes.layers * sum(shapes.shape(tensor)[0] for tensor in shapes.tensors)
        assert -1e-4 <= (removed + biases) / linear - share < 0.005
        ranks[row.series, row.label] = row.decomposition.rank.rank_of(shapes, 1, "q")
    # Of 576 × 576: pairs break even at 288; 0.8 of the numbers hold 318 pivoted ranks.
    assert (ranks["SVD-LLM", "20%"], ranks["SVD-LLM, pivoted", "20%"]) == (230, 318)


def test_models_meet_the_benchmarks_and_studies_of_their_kind(bert):
    minilm, squad = bert.models.values()
    assert bert.study_benchmarks("bert_figure_3_4", minilm) == ["mrpc"]
    assert bert.study_benchmarks("bert_figure_3_4", squad) == ["squad"]
    assert bert.studies_of(squad) == BERT["studies"][1:]
    llama = bert.model("llama-2-7b")
    assert bert.study_benchmarks("table_4_2", llama) == ["arc_easy"]
    assert bert.studies_of(llama) == ["table_4_2"]


def test_bert_studies_for_either_depth(bert):
    for model, one, sixth, third in (
        (bert.models["minilm-l6"], (3,), (3,), (2, 5)),
        (bert.models["bert-base-squad"], (6,), (3, 9), (2, 5, 8, 11)),
    ):
        depth = model.architecture.layers
        tensors, parts, single = (
            {(row.series, row.label): row.decomposition for row in bert.configurations(name, model)}
            for name in BERT["studies"][1:]
        )
        assert len(tensors) == 20 and len({*tensors.values()}) == 20
        assert tensors["one layer", "Int"].layers == one
        assert tensors["all layers", "Int"].layers == tuple(range(1, depth + 1))
        parts = {label: made for (_, label), made in parts.items()}
        assert parts["all in every sixth layer"].layers == sixth
        assert parts["all in every third layer"].layers == third
        assert [made.layers for made in single.values()] == 2 * [(n,) for n in range(1, depth + 1)]
        reductions = {
            label: made.parameter_reduction(model.architecture) for label, made in parts.items()
        }
        few, many = reductions["all in every sixth layer"], reductions["Q+K in all layers"]
        assert many == pytest.approx(few, rel=0.01)
        for label in ("Int in all layers", "O in all layers", "attention in all layers"):
            few = reductions["all in every third layer"]
            assert reductions[label] == pytest.approx(few, rel=0.01)


def bad(key, value):
    def change(config, folder):
        target = config
        *path, last = key.split(".")
        for part in path:
            target = target.setdefault(part, {})
        target[last] = value

    return change


def bad_file(name, key, value, drop=None):
    def change(config, folder):
        path = folder / name
        content = read_yaml(path)
        content.pop(drop, None)
        bad(key, value)(content, folder)
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    return change


def rank_file(ranks):
    def change(config, folder):
        (folder / "ranks").mkdir(exist_ok=True)
        (folder / "ranks" / "a.yaml").write_text(yaml.safe_dump(ranks))
        bad_file(STUDY, "configurations.6%.rank", {"file": "ranks/a.yaml"})(config, folder)

    return change


def influence_file(influence, count=2):
    def change(config, folder):
        (folder / "influence").mkdir(exist_ok=True)
        content = {"calibration": "prose", "influence": influence}
        (folder / "influence/llama-2-7b-chat.yaml").write_text(yaml.safe_dump(content))
        bad_file(STUDY, "configurations.6%.layers", {"least_influence": count})(config, folder)

    return change


STUDY = "studies/table_4_2.yaml"
MODEL = "models/llama-2-7b-chat.yaml"
BENCHMARK = "benchmarks/arc_easy.yaml"
WHEEL = {"wheel": "a==1", "sha256": "0" * 64}

MISTAKES = {
    "typing error in a key": (bad("modles", 1), r"config: modles: unknown key; .*'models'"),
    "unknown model": (bad("models", ["llama-2-7b-chta"]), "does not exist; .*'llama-2-7b-chat'"),
    "unknown benchmark": (bad("benchmarks", {"arc": {}}), "benchmarks/arc.yaml does not exist"),
    "unknown study": (bad("studies", ["table"]), "studies/table.yaml does not exist"),
    "limit of zero": (
        bad("benchmarks.mmlu", {"limit": 0}),
        "config: benchmarks.mmlu.limit: 0 is less than the minimum of 1",
    ),
    "limit above what there is": (
        bad("benchmarks.gsm8k", {"limit": 1320}),
        "benchmarks.gsm8k.limit: 1320 is above the 1319 questions",
    ),
    "unknown key of a benchmark": (
        bad("benchmarks.mmlu", {"limitt": 5}),
        "config: benchmarks.mmlu.limitt: unknown key; did you mean 'limit'",
    ),
    "unknown dtype": (bad("dtype", "fp16"), "config: dtype: 'fp16' is not one of"),
    "bad batch size": (bad("batch_size", "large"), "config: batch_size: 'large' does not match"),
    "a model that nothing scores": (
        lambda config, folder: config.update(
            models=["llama-2-7b-chat", "minilm-l6"], benchmarks={"arc_easy": {}}
        ),
        "config: model minilm-l6 has no benchmark here: none of arc_easy is for the task encoder",
    ),
    "a model that no study is for": (
        lambda config, folder: config.update(
            models=["minilm-l6"], benchmarks={"mrpc": {}}, studies=["table_4_2"]
        ),
        "config: model minilm-l6 takes part in no study: none of table_4_2 is for the family bert",
    ),
    "unknown task": (bad_file(MODEL, "task", "embedding"), "task: 'embedding' is not one of"),
    "task that does not fit": (
        bad_file(MODEL, "task", "encoder"),
        "task: 'encoder' does not fit the architecture: 'causal' does",
    ),
    "unknown scorer": (
        bad_file(BENCHMARK, "scorer", "lm-eval"),
        "scorer: unknown scorer 'lm-eval'; did you mean 'lm_eval'?",
    ),
    "unknown baseline": (
        bad_file(BENCHMARK, "baseline", {"name": "bag_of_word", "label": "words"}),
        "arc_easy.yaml: baseline: unknown baseline 'bag_of_word'; did you mean 'bag_of_words'?",
    ),
    "baseline that cannot read the questions": (
        bad_file(BENCHMARK, "baseline", {"name": "bag_of_words", "label": "words"}),
        "arc_easy.yaml: baseline: bag_of_words reads 'sentence', which is none of `columns`",
    ),
    "lm-eval without its tasks": (
        bad_file(BENCHMARK, "scorer", "lm_eval", drop="tasks"),
        "'tasks' is a required property",
    ),
    "unknown metric": (
        bad_file(BENCHMARK, "metric", "accc,none"),
        "arc_easy.yaml: metric: arc_easy of lm-eval has no metric 'accc'; did you mean 'acc'",
    ),
    "metric that the task lacks": (
        bad_file(BENCHMARK, "metric", {"name": "bleu", "direction": "higher"}),
        "arc_easy.yaml: metric: arc_easy of lm-eval has no metric 'bleu'; known: acc, acc_norm",
    ),
    "typing error in a metric": (
        bad_file(BENCHMARK, "metric", {"name": "acc", "unitt": "%"}),
        "arc_easy.yaml: metric.unitt: unknown key; did you mean 'unit'",
    ),
    "direction of another kind": (
        bad_file(BENCHMARK, "metric", {"name": "acc", "direction": "up"}),
        r"arc_easy.yaml: metric.direction: 'up' is not one of \['higher', 'lower'\]",
    ),
    "unknown metric beside the headline": (
        bad_file(BENCHMARK, "beside", {"norm": {"metric": "acc_nrom"}}),
        "arc_easy.yaml: beside.norm: arc_easy of lm-eval has no metric 'acc_nrom'; did you mean",
    ),
    "task of another benchmark": (
        bad_file(BENCHMARK, "weights", {"arc_esy": 1}),
        "arc_easy.yaml: 'arc_esy' is none of its tasks; did you mean 'arc_easy'",
    ),
    "chance in percent": (
        bad_file(BENCHMARK, "chance", 25),
        "arc_easy.yaml: chance: 25 is no share; acc scores between 0 and 1",
    ),
    "scores that have no mean": (
        bad_file(BENCHMARK, "metric", {"name": "acc", "unit": "points"}, drop="chance"),
        r"table_4_2.yaml: arc_easy \(Accuracy \(points\)\) and "
        r"arc_challenge \(Accuracy \(%\)\) have no mean",
    ),
    "study of an unknown family": (
        bad_file(STUDY, "family", "lama"),
        "table_4_2.yaml: family: unknown family 'lama'; did you mean 'llama'",
    ),
    "layers by another word": (
        bad_file(STUDY, "configurations.6%.layers", "most"),
        "configurations.6%.layers: ",
    ),
    "no layer to take": (
        bad_file(STUDY, "configurations.6%.layers", {"every": 99}),
        "configurations.6%: there is no layer in the middle of 99 in a model of 32",
    ),
    "no models": (bad("models", []), "config: models: "),
    "path that leaves the folder": (bad("pathvars", {"results": "$(x)"}), "pathvars.results: "),
    "layer outside": (
        bad_file(STUDY, "configurations.6%.layers", [3, 33]),
        r"table_4_2.yaml: configurations.6%: layer 33 is outside 1…32",
    ),
    "no file of influence": (
        bad_file(STUDY, "configurations.6%.layers", {"least_influence": 2}),
        "table_4_2.yaml: configurations.6%: least_influence needs config/influence/llama-2-7b-chat",
    ),
    "file of influence without a layer": (
        influence_file({1: 0.1, 2: 0.2}),
        "influence/llama-2-7b-chat.yaml: influence: layer 3 is missing",
    ),
    "file of influence with a name": (
        influence_file({"first": 0.1}),
        "influence/llama-2-7b-chat.yaml: influence: 'first' does not match",
    ),
    "influence that is no number": (
        influence_file({1: "low"}),
        "influence/llama-2-7b-chat.yaml: influence.1: 'low' is not a number",
    ),
    "more layers than there are": (
        influence_file({n: n / 100 for n in range(1, 33)}, 33),
        "configurations.6%: least_influence: 33 is above 32 layers",
    ),
    "two rules for the layers": (
        bad_file(STUDY, "configurations.6%.layers", {"least_influence": 2, "every": 2}),
        "table_4_2.yaml: configurations.6%.layers: .* has too many properties",
    ),
    "layer zero": (bad_file(STUDY, "configurations.6%.layers", [0]), "layer 0 is outside 1…32"),
    "layer twice": (bad_file(STUDY, "configurations.6%.layers", [3, 3]), "layer 3 is listed twice"),
    "rank above the tensor's": (
        bad_file(STUDY, "configurations.6%.rank", 5000),
        "configurations.6%: rank 5000 is above the rank 4096 of tensor q",
    ),
    "share under another name": (
        bad_file(STUDY, "rank", {"break_evn": 0.6}),
        "table_4_2.yaml: rank.break_evn: unknown key; did you mean 'break_even'",
    ),
    "two rules for the ranks": (
        bad_file(STUDY, "rank", {"break_even": 0.6, "file": "ranks/a.yaml"}),
        "table_4_2.yaml: rank: .* has too many properties",
    ),
    "no share at all": (
        bad_file(STUDY, "configurations.6%.rank", {"break_even": 0}),
        "configurations.6%.rank.break_even: 0 is less than or equal to the minimum of 0",
    ),
    "share above the tensor's rank": (
        bad_file(STUDY, "configurations.6%.rank", {"break_even": 2.5}),
        "6%: 2.5 of break-even: rank 5120 is above the rank 4096 of tensor q",
    ),
    "rank file that is not there": (
        bad_file(STUDY, "configurations.6%.rank", {"file": "ranks/none.yaml"}),
        "config/ranks/none.yaml does not exist",
    ),
    "rank file without layers": (
        rank_file({"q": 5}),
        "config/ranks/a.yaml: top level: 'q' does not match",
    ),
    "rank file with an unknown word of its source": (
        rank_file({"source": {"methd": "svd"}, 3: {"q": 5}}),
        "config/ranks/a.yaml: source.methd: unknown key; did you mean 'method'",
    ),
    "series of an unknown model": (
        bad_file(STUDY, "series", {"a": {"models": ["llama-2-7b-cat"]}}),
        "config: models: .*llama-2-7b-cat.yaml does not exist; did you mean 'llama-2-7b-chat'",
    ),
    "rank file without tensors": (rank_file({3: 5}), "ranks/a.yaml: 3: 5 is not a mapping"),
    "rank file of half a rank": (
        rank_file({3: {"q": 2.5}}),
        "ranks/a.yaml: 3.q: 2.5 is not a whole number",
    ),
    "rank file of an unknown tensor": (
        rank_file({3: {"w": 5}}),
        "table_4_2.yaml: configurations.6%: ranks/a.yaml: layer 3: unknown tensor 'w'; known: q",
    ),
    "rank file without a decomposed layer": (
        rank_file({3: dict.fromkeys(("q", "k", "v", "so", "g", "u", "d"), 5)}),
        "configurations.6%: the ranks lack tensor q of layer 30",
    ),
    "method without its calibration set": (
        bad_file(STUDY, "method", "svd_llm"),
        "configurations.6%: method 'svd_llm' needs a calibration set, named in small letters: ''",
    ),
    "unknown calibration set": (
        bad_file(
            STUDY, "configurations.6%", {"method": "lord", "calibration": "pros", "layers": [1]}
        ),
        "config: calibration: .*pros.yaml does not exist; did you mean 'prose'",
    ),
    "unknown form": (
        bad_file(STUDY, "form", "pivot"),
        r"table_4_2.yaml: form: 'pivot' is not one of \['pairs', 'pivoted'\]",
    ),
    "share above all": (
        bad_file(STUDY, "rank", {"share": 1.2}),
        "table_4_2.yaml: rank.share: 1.2 is greater than the maximum of 1",
    ),
    "unknown tensor": (
        bad_file(STUDY, "configurations.6%.tensors", ["w"]),
        "configurations.6%: unknown tensor 'w'; known: q, k, v",
    ),
    "unknown method": (bad_file(STUDY, "method", "tuker"), "unknown method 'tuker'; .*'tucker'"),
    "decode of no token": (
        bad(
            "profile.workloads",
            [{"phase": "decode", "prompt": 8, "new_tokens": 0, "batch": 1}],
        ),
        "profile.workloads.0.new_tokens: 0 is less than the minimum of 1",
    ),
    "measurement on no GPU": (bad("profile.gpus", 0), "profile.gpus: 0 is less than the minimum"),
    "unknown key of a study": (bad_file(STUDY, "ranks", 1), "ranks: unknown key; .*'rank'"),
    "unknown family": (
        bad_file(MODEL, "architecture.model_type", "gpt2"),
        "llama-2-7b-chat.yaml: model_type 'gpt2' is not supported",
    ),
    "revision that is no commit": (
        bad_file(MODEL, "sources", [{"hub": "a/b", "revision": "main"}]),
        "llama-2-7b-chat.yaml: sources.0",
    ),
    "unpinned checksum": (
        bad_file(BENCHMARK, "sources", [{"mirror": "x", "sha256": "?"}]),
        r"arc_easy.yaml: sources.0.sha256: '\?' does not match",
    ),
    "questions without a checksum": (
        bad_file(BENCHMARK, "sources", [{"mirror": "x.jsonl"}]),
        "arc_easy.yaml: sources.0: 'sha256' is a required property",
    ),
    "typing error in a source": (
        bad_file(BENCHMARK, "sources", [{"mirorr": "x.jsonl", "sha256": "0" * 64}]),
        "arc_easy.yaml: sources.0.mirorr: unknown key; did you mean 'mirror'",
    ),
    "source of two kinds": (
        bad_file(MODEL, "sources", [WHEEL | {"gguf": "a.gguf", "members": ["config.json"]}]),
        "llama-2-7b-chat.yaml: sources.0: .* is valid under each of",
    ),
    "source of a form that is not known": (
        bad_file(BENCHMARK, "sources", [{"file": "x.jsonl"}]),
        "arc_easy.yaml: sources.0: .* is none of these: a file of the local mirror .*; a file of a",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_clear_line(name, folder):
    change, message = MISTAKES[name]
    config = copy.deepcopy(PAPER)
    change(config, folder)
    with pytest.raises(LowrankError, match=message) as caught:
        Project(config, folder)
    assert "\n" not in str(caught.value)


def test_a_rank_file_is_part_of_its_configuration_alone(folder):
    (folder / "ranks").mkdir(exist_ok=True)
    ranks = {3: {"q": 40, "v": 600}, 30: {"q": 5, "v": 7}, 31: {"q": 4000}}
    source = {"source": {"rule": "by hand", "share": 0.1}}
    (folder / "ranks" / "a.yaml").write_text(yaml.safe_dump(source) + yaml.safe_dump(ranks))
    (folder / "ranks" / "a.json").write_text(json.dumps(ranks))
    study = {
        "title": "Three rules",
        "method": "svd",
        "tensors": ["q", "v"],
        "configurations": {
            "a rank": {"layers": [3], "rank": 250},
            "a share": {"layers": [3], "rank": {"break_even": 0.3}},
            "a module": {"layers": [3, 30], "rank": {"file": "ranks/a.yaml"}},
            "the same": {"layers": [3, 30], "rank": {"file": "ranks/a.json"}},
        },
    }
    (folder / "studies" / "rules.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    config = {**PAPER, "models": ["llama-2-7b-chat"], "studies": ["table_4_2", "rules"]}

    def made():
        project = Project(config, folder)
        llama = project.model("llama-2-7b-chat")
        rows = project.configurations("rules", llama)
        return project, llama, [row.decomposition.name(llama.architecture) for row in rows]

    project, llama, names = made()
    assert names[:2] == ["svd-r250-l3-q.v", "svd-b0.3-l3-q.v"]  # 0.3 of 2048 is 614.4
    assert names[2] == names[3]
    found = project.decomposition(llama, names[2])
    assert found.rank.modules == {layer: ranks[layer] for layer in (3, 30)}
    assert project.decomposition(llama, "svd-r7-l1-q").rank.label == 7
    with pytest.raises(LowrankError, match="ffffffffff is the digest of ranks that no configur"):
        project.decomposition(llama, "svd-mffffffffff-l3-q.v")
    assert project.largest_rank(llama.name, "svd") == 614
    assert project.largest_rank(llama.name, "tucker") == 1
    ranks[31]["q"] = 1  # of a layer that is not decomposed
    (folder / "ranks" / "a.yaml").write_text(yaml.safe_dump(ranks))
    assert made()[2] == names
    ranks[3]["v"] = 700
    (folder / "ranks" / "a.yaml").write_text(yaml.safe_dump(ranks))
    project, llama, changed = made()
    assert changed[:2] == names[:2] and changed[3] == names[3] != changed[2]
    assert project.largest_rank(llama.name, "svd") == 700


def test_snakemake_prints_the_line_and_nothing_else():
    command = [sys.executable, "-m", "snakemake", "-n", "--cores", "1", "--config", "dtype=fp16"]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode != 0 and "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    assert lines == [
        "error: config: dtype: 'fp16' is not one of ['float32', 'float16', 'bfloat16']"
    ]


def test_planning_imports_no_torch():
    probe = (
        "import importlib, pkgutil, sys; sys.path.insert(0, 'workflow'); "
        "import lowrank.project, lowrank.running.devices, lowrank.running.imports, "
        "lowrank.running.slurm, lowrank.running.variables; "
        "[importlib.import_module(module.name) for module in "
        "pkgutil.walk_packages(lowrank.project.__path__, 'lowrank.project.')]; "
        "heavy = {'torch', 'transformers', 'numpy', 'lm_eval'}; "
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
