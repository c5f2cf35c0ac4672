"""Benchmarks that ask windows of a text: what an entry must say, and what rules ask of them."""

import shutil

import pytest
import yaml
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, read_yaml
from lowrank.base.metric import Metric, metric_of_mean
from lowrank.claims import decide
from lowrank.project.configuration import Project
from lowrank.project.views.analyse import described_benchmarks, shaped_by, shaping_scripts
from lowrank.project.views.assets import counted_benchmarks, questions_file, text_settings
from lowrank.project.views.evaluate import asked_of, files_of_benchmarks, scoring
from lowrank.project.views.profile import profiled_benchmarks
from lowrank.project.views.tables import table_4_1_row
from lowrank.tables.table_4_1 import table

NAMES = ("perplexity_prose", "perplexity_code", "perplexity_wikitext2", "wikitext")
SETTINGS = {
    "models": ["smollm2-135m-instruct", "minilm-l6"],
    "studies": ["table_4_2", "bert_figure_3_6"],
    "benchmarks": {"arc_easy": {"limit": 40}, "perplexity_prose": {"limit": 500}, "mrpc": {}},
    "device": "cpu",
    "dtype": "float32",
    "batch_size": 16,
}
PATHS = ("q/{benchmark}.parquet", "t/{text}.evaluation.txt")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LOWRANK_HUB", "0")
    monkeypatch.delenv("LOWRANK_MIRROR", raising=False)
    return shutil.copytree("config", tmp_path / "config")


@pytest.fixture
def project(folder):
    return Project(SETTINGS, folder)


@pytest.fixture
def model(project):
    return project.models["smollm2-135m-instruct"]


def changed(folder, **changes):
    """Change the entry of a benchmark of windows; None takes a key away."""
    path = folder / "benchmarks" / "perplexity_prose.yaml"
    entry = {k: v for k, v in (read_yaml(path) | changes).items() if v is not None}
    path.write_text(yaml.safe_dump(entry))


def test_what_was_asked_and_how_long_stands_with_every_number(folder):
    project = Project(SETTINGS, folder)
    labels = [project.benchmark(name)["label"] for name in NAMES[:3]]
    assert labels == [
        "Perplexity (prose, 512 tokens)",
        "Perplexity (code, 512 tokens)",
        "Perplexity (WikiText-2, 2048 tokens)",
    ]
    for name, label in zip(NAMES, labels, strict=False):
        metric = project.benchmark(name)["metric"]
        assert (metric.label, metric.axis) == (label, f"{label}, lower is better")
        assert (metric.averaging, metric.in_mean, metric.chance) == ("perplexity", False, None)


def test_no_two_perplexities_share_an_axis_or_a_mean(project):
    metrics = {name: project.benchmark(name)["metric"] for name in NAMES}
    assert len({metric.kind for metric in metrics.values()}) == len(NAMES)
    for one in NAMES[1:]:
        with pytest.raises(LowrankError, match="have no mean"):
            metric_of_mean({name: metrics[name] for name in (NAMES[0], one)})


def test_a_study_may_ask_perplexities_alone(folder, model):
    path = folder / "studies" / "table_4_2.yaml"
    names = ["perplexity_prose", "perplexity_code"]
    path.write_text(yaml.safe_dump(read_yaml(path) | {"benchmarks": names}))
    benchmarks = SETTINGS["benchmarks"] | {"perplexity_code": {}}
    project = Project(SETTINGS | {"benchmarks": benchmarks}, folder)
    assert project.study_benchmarks("table_4_2", model) == names


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"length": None}, "top level: 'length' is a required property"),
        ({"text": None}, "top level: 'text' is a required property"),
        ({"length": 1}, "length: 1 is less than the minimum of 2"),
        ({"text": "prosa"}, r"config: texts: .*prosa\.yaml does not exist; did you mean 'prose'\?"),
        ({"length": 256}, "label: 'Perplexity .prose, 512 tokens.' does not say .* '256 tokens'"),
        ({"text": "code"}, "label: .* does not say what is asked: 'code' or 'Python code', and "),
        ({"metric": "word_perplexity"}, "metric: windows have no 'word_perplexity'; did you mean"),
        ({"beside": {"x": {"metric": "acc"}}}, "metric: windows have no 'acc'"),
        ({"chance": 49152}, "chance: windows of a text have none"),
        ({"questions": 100}, "questions: windows of a text have none"),
        ({"tasks": ["wikitext"]}, "tasks: windows of a text have none"),
        (
            {"sources": [{"mirror": "x", "sha256": "0" * 64}]},
            "sources: windows of a text have none",
        ),
        ({"scorer": "perplexiti"}, "top level: 'questions' is a required property"),
    ],
)
def test_a_wrong_entry_is_one_line(changes, says, folder):
    changed(folder, **changes)
    with pytest.raises(LowrankError, match=rf"perplexity_prose\.yaml: {says}") as raised:
        Project(SETTINGS, folder)
    assert "\n" not in str(raised.value)


def test_questions_are_no_windows(folder):
    path = folder / "benchmarks" / "arc_easy.yaml"
    path.write_text(path.read_text() + "length: 512\n")
    with pytest.raises(LowrankError, match="`text` and `length` are for the scorer `perplexity`"):
        Project(SETTINGS, folder)


def test_it_is_here_if_its_text_is(folder, tmp_path, monkeypatch):
    asked = ("arc_easy", "perplexity_prose", "perplexity_wikitext2")
    settings = SETTINGS | {"benchmarks": {key: {} for key in asked}}
    settings |= {"models": SETTINGS["models"][:1], "studies": ["table_4_2"]}
    assert Project(settings, folder).unavailable_benchmarks == ["perplexity_wikitext2"]
    files = tmp_path / "mirror" / "wikitext" / "wikitext-2-raw-v1"
    files.mkdir(parents=True)
    monkeypatch.setenv("LOWRANK_MIRROR", str(tmp_path / "mirror"))
    (files / "test.parquet").touch()
    assert Project(settings, folder).unavailable_benchmarks == ["perplexity_wikitext2"]
    (files / "train.parquet").touch()
    project = Project(settings, folder)
    assert project.unavailable_benchmarks == []
    own, subsets = project.sources_of("perplexity_wikitext2")
    assert own == project.text("wikitext2")["sources"] and subsets == ["train", "test"]
    monkeypatch.setenv("LOWRANK_MIRROR", str(tmp_path))
    monkeypatch.setenv("LOWRANK_HUB", "1")
    assert Project(settings, folder).unavailable_benchmarks == []


def test_a_limit_may_be_above_what_there_is(project, model):
    """How many windows there are, the tokenizer says."""
    assert project.limit(model, "dense", "perplexity_prose") == 500
    more = SETTINGS | {"limits": {"table_4_2": {"perplexity_prose": 900}}}
    project = Project(more, project.registry.folder)
    assert project.limit(model, "dense", "perplexity_prose") == 900


def test_what_rules_ask(project, model):
    assert questions_file(project, "arc_easy", *PATHS) == "q/arc_easy.parquet"
    assert questions_file(project, "perplexity_prose", *PATHS) == "t/prose.evaluation.txt"
    assert counted_benchmarks(project) == ["arc_easy", "mrpc"]
    assert profiled_benchmarks(project, model) == ["arc_easy"]
    assert files_of_benchmarks(project, model, "dense", "{benchmark}.{limit}") == [
        "arc_easy.40",
        "perplexity_prose.500",
    ]
    assert scoring(project, "perplexity_prose") == {
        "name": "perplexity_prose",
        "scorer": "perplexity",
        "text": "prose",
        "length": 512,
        "metric": "token_perplexity",
        "beside": {"bits_per_byte": {"metric": "bits_per_byte"}},
    }
    (_, asked) = asked_of(project, model, "dense")
    assert (asked["settings"]["limit"], asked["settings"]["block"]) == (500, 8)


def test_a_study_follows_the_text(project, model):
    shaped = shaped_by(project, "table_4_2", model)["benchmarks"]["perplexity_prose"]
    assert shaped["questions"] == text_settings(project, "prose")
    scripts = shaping_scripts(project, "table_4_2", model)
    assert {"fetch_text", "fetch_benchmark", "prepare_requests", "evaluate"} <= set(scripts)
    bert = project.models["minilm-l6"]
    assert "fetch_text" not in shaping_scripts(project, "bert_figure_3_6", bert)
    described = dict(described_benchmarks(project, "table_4_2", model))
    metric = Metric.from_record(described["perplexity_prose"]["metric"])
    assert metric == project.benchmarks["perplexity_prose"]["metric"]


@pytest.mark.parametrize(
    ("limits", "used", "data"),
    [
        ([64], "64 windows at most", ["", "", "64"]),
        ([8, 64], "64 windows at most", ["", "", "64"]),
        ([64, None], "all windows", ["", "", ""]),
        ([], "not used here", ["", "0", "0"]),
    ],
)
def test_table_4_1_counts_no_windows(limits, used, data, project):
    row = table_4_1_row(project, "perplexity_prose") | {"limits": limits}
    made = table([row], [], "paper/thesis.yaml")
    assert made.rows[0][2:] == (
        "perplexity",
        "token_perplexity, lower is better",
        *("–", "–", "–", "–"),
        used,
    )
    assert list(made.data[1][-3:]) == data


def test_looks_are_planned_of_questions_alone(project, tmp_path, monkeypatch):
    monkeypatch.setattr(decide, "planned_effects", lambda *_: {})
    monkeypatch.setattr(decide, "_effects_in_words", lambda *_: [])
    monkeypatch.setattr(decide, "decide", lambda *_, **__: None)
    monkeypatch.chdir(tmp_path)
    folder = project.registry.folder
    results = {"pathvars": {"results": "results"}, "looks": {"count": 2}}
    arguments = {"run": lambda *_: None, "seconds": 1.0, "cores": 1, "say": lambda _: None}
    decide.make_decisions(SETTINGS | results, folder, **arguments)
    assert set(read_json("results/plan.json")["looks"]["numbers"]) == {"arc_easy", "mrpc"}
