"""What a run is made of: directories, names of every kind, and what is left out."""

import shutil

import pytest
import tiny
import yaml
from lowrank.assets.sources import MIRROR_VARIABLE, mirror_root, require_mirror
from lowrank.base.errors import LowrankError
from lowrank.base.files import merge, read_yaml
from lowrank.project.configuration import Project
from lowrank.project.figures import score_figures
from lowrank.project.views.figures import undrawn
from lowrank.project.views.profile import profiled_benchmarks, profiled_study

SMOL = "smollm2-135m-instruct"
LAPTOP = merge([read_yaml("config/config.yaml"), read_yaml("config/laptop.yaml")])
ELSEWHERE = {"leave_out": [], "limits": {}, "profile": {}}
"""In place of what the scale says of entries that a test gives another name."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)
    monkeypatch.setenv("LOWRANK_HUB", "0")
    shutil.copytree("config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "config"


def laid_over(folder, **overlay):
    return Project(merge([LAPTOP, overlay]), folder)


def test_null_leaves_a_benchmark_out_and_never_asks_all_of_it(folder):
    project = laid_over(folder, benchmarks={"mmlu": None})
    assert "mmlu" not in project.benchmarks and "arc_easy" in project.benchmarks
    assert "mmlu" not in profiled_benchmarks(project, project.model(SMOL))
    again = Project(
        merge([LAPTOP, {"benchmarks": {"mmlu": None}}, {"benchmarks": {"mmlu": {}}}]), folder
    )
    assert again.settings["benchmarks"]["mmlu"]["limit"] is None  # said so: `{}` is no null
    with pytest.raises(LowrankError, match="mml.yaml does not exist; did you mean 'mmlu'"):
        laid_over(folder, benchmarks={"mml": None})


def test_models_and_studies_are_left_out(folder):
    project = laid_over(folder, leave_out=["minilm-l6", "figure_3_2", "gsm8k", "mrpc"])
    assert list(project.models) == [SMOL]
    assert "figure_3_2" not in project.settings["studies"] and "mrpc" not in project.benchmarks
    assert undrawn(project) == ["bert_figure_3_4", "bert_figure_3_5", "bert_figure_3_6"]
    project = laid_over(folder, leave_out=["table_4_2"])
    assert profiled_study(project, project.model(SMOL)) is None


@pytest.mark.parametrize(
    ("overlay", "said"),
    [
        ({"leave_out": ["minilm"]}, "leave_out: there is no 'minilm'; did you mean 'minilm-l6'"),
        (
            {"leave_out": ["minilm-l6", SMOL]},
            "config: models: all of them are left out",
        ),
        ({"benchmarks": {"arc_easy": {"limit": "all"}}}, "benchmarks.arc_easy.limit: 'all' is not"),
        ({"benchmarks": {9: {}}}, "benchmarks/9.yaml does not exist"),
        ({"benchmarks": {True: None}}, "benchmarks/true.yaml does not exist"),
        (
            {"profile": {"study": "table_42"}},
            "table_42.yaml does not exist; did you mean 'table_4_2'",
        ),
        ({"profile": {"benchmarks": ["arc"]}}, "benchmarks/arc.yaml does not exist"),
        ({"asked": {"tinny": {}}}, "models/tinny.yaml does not exist"),
        ({"asked": {SMOL: {"dense": {"arc": 9}}}}, "benchmarks/arc.yaml does not exist"),
        ({"models": [7]}, "config: models.0: 7 is not text"),
        ({"models": ["meta/llama"]}, "meta/llama is no directory"),
        ({"models": ["~nobody-here/x"]}, "x is no directory"),
        ({"models": [{"name": "x"}]}, "'path' is a required property"),
        ({"models": [{"path": "./m", "name": "a b"}]}, "the name of a model has letters, digits"),
        ({"models": [{"path": "./m", "name": "authors"}]}, "'authors' is taken"),
        ({"models": ["mine"]}, "mine is no entry; the directory is ./mine"),
        ({"models": ["./mine", "./b/mine"]}, r"two models are called mine: .*{path: ./b/mine"),
        ({"models": ["./minilm-l6"]}, r"minilm-l6.yaml is: give it another name"),
    ],
)
def test_what_cannot_be_is_one_line(folder, tmp_path, overlay, said):
    for name in ("mine", "b/mine", "minilm-l6"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(LowrankError, match=said) as caught:
        laid_over(folder, **overlay)
    assert "\n" not in str(caught.value)


def test_a_study_whose_benchmarks_are_all_left_out_is_refused(folder):
    entry = read_yaml(folder / "studies/figure_3_2.yaml") | {"benchmarks": ["mmlu"]}
    (folder / "studies/figure_3_2.yaml").write_text(yaml.safe_dump(entry))
    with pytest.raises(LowrankError, match="study figure_3_2 has no benchmark here for model smol"):
        laid_over(folder, benchmarks={"mmlu": None})
    laid_over(folder, benchmarks={"mmlu": None}, leave_out=["figure_3_2"])


def test_a_directory_is_a_model_of_the_run(folder, tmp_path):
    tiny.save_model(tmp_path / "My Model")
    tiny.save_model(tmp_path / "b" / "My Model", seed=1)
    given = ["./My Model", {"path": "b/My Model", "name": "other", "label": "The other"}]
    studies = ["table_4_2"]
    project = laid_over(folder, models=given, studies=studies)
    assert list(project.models) == ["My-Model", "other"]
    mine, other = project.models.values()
    assert (mine.label, other.label) == ("My Model", "The other")
    assert mine.architecture.layers == 4 and mine.sources != other.sources
    where = {"My-Model": str(tmp_path / "My Model"), "other": str(tmp_path / "b" / "My Model")}
    assert project.named_models.directories == where
    assert project.studies_of(mine) == studies and "mmlu" in project.benchmarks_of(mine)
    assert list(laid_over(folder, models=given, leave_out=["./My Model"]).models) == ["other"]
    config = tmp_path / "My Model" / "config.json"
    config.write_text(config.read_text().replace('"llama"', '"gpt2"'))
    with pytest.raises(LowrankError, match="./My Model: its config.json: model_type 'gpt2' is not"):
        laid_over(folder, models=given)


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("models", SMOL, "Llama-3.2-1B"),
        ("models", SMOL, "tiny_llama"),
        ("benchmarks", "arc_easy", "arc-easy"),
        ("benchmarks", "arc_easy", "ARC.Easy_2"),
        ("studies", "table_4_2", "my-study"),
        ("studies", "table_4_2", "My.Study-2"),
        ("studies", "table_4_2", "2024"),
    ],
)
def test_names_as_people_write_them(folder, kind, old, new):
    (folder / kind / f"{old}.yaml").rename(folder / kind / f"{new}.yaml")
    own = {"models": [SMOL], "studies": ["table_4_2"], "benchmarks": {"arc_easy": {"limit": 4}}}
    own[kind] = {new: {"limit": 4}} if kind == "benchmarks" else [new]
    project = Project({**LAPTOP, **own, **ELSEWHERE}, folder)
    assert new in (*project.models, *project.settings["studies"], *project.benchmarks)


@pytest.mark.parametrize(
    ("kind", "old", "new", "said"),
    [
        ("models", SMOL, "my model", "the name of a model has letters, digits"),
        ("benchmarks", "arc_easy", "-arc", "begins with a letter or a digit"),
        ("benchmarks", "arc_easy", "a" * 101, "the name of a benchmark has at most 100 characters"),
        ("benchmarks", "arc_easy", "aggregate", "'aggregate' is taken"),
        ("studies", "table_4_2", "a.profiles", "does not end in `.profiles`"),
        ("studies", "table_4_2", "größe", "the name of a study has letters"),
    ],
)
def test_the_rule_for_names_is_said(folder, kind, old, new, said):
    (folder / kind / f"{old}.yaml").rename(folder / kind / f"{new}.yaml")
    own = {"models": [SMOL], "studies": ["table_4_2"], "benchmarks": {"arc_easy": {"limit": 4}}}
    own[kind] = {new: {"limit": 4}} if kind == "benchmarks" else [new]
    with pytest.raises(LowrankError, match=said):
        Project({**LAPTOP, **own, **ELSEWHERE}, folder)


@pytest.mark.parametrize(
    ("study", "said"),
    [
        ({"figure": "figure_4_11"}, "unknown figure 'figure_4_11'; did you mean 'figure_4_1'"),
        ({"figure": "figure_4_2"}, "unknown figure 'figure_4_2'"),
        ({"figure": "figure_4_1", "shown_as": "figure_4_3"}, "is another figure's name"),
        ({"shown_as": "figure_mine"}, "is no figure without `figure`"),
    ],
)
def test_a_figure_that_is_never_drawn_is_refused(folder, study, said):
    entry = {"title": "T", "configurations": {9: {"layers": [2]}}} | study
    (folder / "studies/mine.yaml").write_text(yaml.safe_dump(entry))
    with pytest.raises(LowrankError, match=said):
        laid_over(folder, studies=["mine"])
    assert "figure_4_1" in score_figures()


def test_labels_of_any_type_are_text(folder):
    labels = "9: {layers: [2]}\n  true: {layers: [3]}\n  2024-01-01: {layers: [1]}\n"
    text = (
        f"title: 2024\nconfigurations:\n  {labels}series: {{1: {{rank: 1}}, 2.50: {{rank: 2}}}}\n"
    )
    (folder / "studies/mine.yaml").write_text(text)
    project = laid_over(folder, studies=["mine"])
    rows = project.configurations("mine", project.model(SMOL))
    labels = ["9", "true", "2024-01-01"]
    assert [(row.series, row.label) for row in rows] == [
        (series, label) for series in ("1", "2.50") for label in labels
    ]
    assert project.study("mine")["title"] == "2024"


def test_a_mirror_as_people_write_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    for given in ("~/data", "$HOME/data", "${HOME}/data", str(tmp_path / "data")):
        monkeypatch.setenv(MIRROR_VARIABLE, given)
        require_mirror(given)
        assert mirror_root() == tmp_path / "data"
    (tmp_path / "file").touch()
    for given in ("~/typo", "/data/typo", "$NOT_SET_AT_ALL/data", "~/file"):
        with pytest.raises(LowrankError, match="is no directory: correct or unset") as caught:
            require_mirror(given)
        assert given in str(caught.value)
