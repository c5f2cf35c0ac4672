"""What the rules ask of a project's baselines."""

import pytest
from lowrank.project.configuration import Project
from lowrank.project.views.analyse import study_baselines
from lowrank.project.views.evaluate import baseline_of

CONFIG = {
    "models": ["minilm-l6"],
    "studies": ["bert_figure_3_6"],
    "benchmarks": {"mrpc": {"limit": 40}, "sst2": {}},
    "seed": 7,
}


@pytest.fixture
def project(monkeypatch):
    monkeypatch.setenv("LOWRANK_HUB", "1")
    return Project(CONFIG, "config")


def test_a_baseline_is_asked_what_the_dense_model_is(project):
    model = project.models["minilm-l6"]
    made = baseline_of(project, model, "mrpc")
    assert made["settings"] == {"seed": 7, "sampling": "random", "limit": 40}
    assert made["entry"] == {
        "name": "mrpc",
        "metric": {"name": "average_precision", "in_mean": False},
        "options": {"max_length": 256},
        "baseline": {"name": "word_overlap", "label": "shared words"},
    }
    assert baseline_of(project, model, "sst2")["settings"]["limit"] is None


def test_a_study_shows_the_baselines_of_its_benchmarks(project, monkeypatch):
    model = project.models["minilm-l6"]
    path = "{model}/{benchmark}"
    both = ["minilm-l6/mrpc", "minilm-l6/sst2"]
    assert study_baselines(project, "bert_figure_3_6", model, path) == both
    monkeypatch.setitem(project.benchmarks["mrpc"], "baseline", {})
    assert study_baselines(project, "bert_figure_3_6", model, path) == both[1:]
