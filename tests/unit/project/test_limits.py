"""How many questions a configuration is asked: the most of what the run, a study or it says."""

import pytest
from lowrank.base.errors import LowrankError
from lowrank.project.configuration import Project
from lowrank.project.views.evaluate import (
    asked_of,
    benchmarks_asked,
    files_of_benchmarks,
    limit_name,
    limit_of,
    run_settings,
)

LLAMA, BERT = "smollm2-135m-instruct", "minilm-l6"
SETTINGS = {
    "models": [LLAMA, BERT],
    "studies": ["table_4_2", "figure_3_7", "bert_figure_3_6"],
    "benchmarks": {
        "arc_easy": {"limit": 40},
        "winogrande": {"limit": 8},
        "gsm8k": {"limit": 8},
        "mrpc": {},
    },
    "device": "cpu",
    "dtype": "float32",
    "batch_size": 16,
}
OWN = "tucker-r1-l3.28-all"
"""A configuration of Table 4.2 alone."""


@pytest.fixture
def made(monkeypatch):
    """A function from changed settings to a project and its causal model."""
    monkeypatch.setenv("LOWRANK_HUB", "1")

    def make(**changes):
        project = Project(SETTINGS | changes, "config")
        return project, project.models[LLAMA]

    return make


def limits(project, model, *benchmarks):
    """The limits of a configuration of Table 4.2, of one of Figure 3.7, and of the dense one."""
    other = next(
        name
        for name in project.decompositions(model)
        if project.studies_asking(model, name) == ["figure_3_7"]
    )
    assert project.studies_asking(model, OWN) == ["table_4_2"]
    return [
        [project.limit(model, name, benchmark) for benchmark in benchmarks]
        for name in (OWN, other, "dense")
    ]


def test_a_benchmark_s_limit_is_that_of_all(made):
    assert limits(*made(), "arc_easy", "gsm8k") == [[40, 8]] * 3
    project, model = made(benchmarks={"arc_easy": {"limit": None}, "mrpc": {}})
    assert limits(project, model, "arc_easy") == [[None]] * 3


def test_a_study_s_limit_is_that_of_its_configurations_and_of_the_dense_one(made):
    found = limits(*made(limits={"table_4_2": {"arc_easy": 96}}), "arc_easy", "gsm8k")
    assert found == [[96, 8], [40, 8], [96, 8]]
    # Fewer than the benchmark's own are no limit, nor is a study's number that is taken back.
    assert limits(*made(limits={"table_4_2": {"arc_easy": 3}}), "arc_easy") == [[40]] * 3
    assert limits(*made(limits={"table_4_2": None}), "arc_easy") == [[40]] * 3
    both = {"table_4_2": {"arc_easy": 96}, "figure_3_7": {"arc_easy": 120}}
    assert limits(*made(limits=both), "arc_easy") == [[96], [120], [120]]


def test_null_is_all_questions_whoever_says_it(made):
    found = limits(*made(limits={"table_4_2": {"arc_easy": None}}), "arc_easy")
    assert found == [[None], [40], [None]]
    asked = {LLAMA: {OWN: {"arc_easy": 500}}}
    found = limits(*made(limits={"table_4_2": {"arc_easy": None}}, asked=asked), "arc_easy")
    assert found == [[None], [40], [None]]


def test_a_configuration_s_own_number(made):
    asked = {LLAMA: {OWN: {"arc_easy": 80, "gsm8k": 4}}, BERT: {"dense": {"mrpc": 8}}}
    assert limits(*made(asked=asked), "arc_easy", "gsm8k") == [[80, 8], [40, 8], [40, 8]]
    found = limits(*made(asked=asked, limits={"table_4_2": {"arc_easy": 96}}), "arc_easy")
    assert found == [[96], [40], [96]]


@pytest.mark.parametrize("key", ["limits", "asked"])
def test_more_questions_than_there_are_are_all_there_are(made, key):
    wanted = {"winogrande": 10**6}
    changes = {"limits": {"table_4_2": wanted}, "asked": {LLAMA: {OWN: wanted}}}
    project, model = made(**{key: changes[key]})
    available = project.benchmarks["winogrande"]["questions"]
    assert project.limit(model, OWN, "winogrande") == available == 1267


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            {"table_4_3": {"arc_easy": 9}},
            r"studies/table_4_3\.yaml does not exist; did you mean 'table_4_2'",
        ),
        (
            {"table_4_2": {"arc_esy": 9}},
            r"benchmarks/arc_esy\.yaml does not exist; did you mean 'arc_easy'",
        ),
        ({"table_4_2": {"arc_easy": 0}}, "limits.table_4_2.arc_easy: 0 is less than the minimum"),
    ],
)
def test_a_limit_of_what_does_not_exist_is_refused(made, limits, message):
    with pytest.raises(LowrankError, match=message):
        made(limits=limits)


def test_each_configuration_is_asked_what_its_studies_show(made):
    project, model = made()
    causal = ["arc_easy", "winogrande", "gsm8k"]
    assert benchmarks_asked(project, model, OWN) == causal
    assert benchmarks_asked(project, project.models[BERT], "dense") == ["mrpc"]
    shown = {name: benchmarks_asked(project, model, name) for name in project.decompositions(model)}
    of_figure = project.study_benchmarks("figure_3_7", model)
    for name, benchmarks in shown.items():
        studies = project.studies_asking(model, name)
        if studies == ["figure_3_7"]:
            assert benchmarks == of_figure
        if "table_4_2" in studies:
            assert benchmarks == causal
    assert {"table_4_2", "figure_3_7"} <= set(project.studies_asking(model, "dense"))


def test_what_a_job_is_asked_names_its_files(made):
    project, model = made(limits={"table_4_2": {"arc_easy": None}})
    asked = asked_of(project, model, OWN)
    assert [own["entry"]["name"] for own in asked] == ["arc_easy", "winogrande", "gsm8k"]
    assert [own["settings"]["limit"] for own in asked] == [None, 8, 8]
    assert {own["settings"]["block"] for own in asked} == {8}
    files = files_of_benchmarks(project, model, OWN, "{model}/{benchmark}.{limit}")
    assert files == [f"{LLAMA}/arc_easy.all", f"{LLAMA}/winogrande.8", f"{LLAMA}/gsm8k.8"]
    bert = project.models[BERT]
    assert files_of_benchmarks(project, bert, "dense", "{benchmark}") == ["mrpc"]
    settings = run_settings(project)
    assert settings["device"] == "cpu" and settings["batch_size"] == 16
    assert "limit" not in settings and "hub" not in settings


@pytest.mark.parametrize("limit", [None, 1, 40, 14042])
def test_a_name_of_a_limit_says_it(limit):
    assert limit_of(limit_name(limit)) == limit


def test_a_benchmark_may_have_a_batch_size_of_its_own(made):
    project, model = made()
    project.settings["benchmarks"]["winogrande"]["batch_size"] = 2
    project.settings["benchmarks"]["mrpc"]["batch_size"] = 5
    asked = asked_of(project, model, OWN)
    assert [own["settings"]["batch_size"] for own in asked] == [16, 2, 16]
    (pairs,) = asked_of(project, project.models[BERT], "dense")
    assert pairs["settings"]["batch_size"] == pairs["settings"]["block"] == 5
