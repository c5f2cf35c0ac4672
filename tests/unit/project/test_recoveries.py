import shutil

import pytest
import yaml
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml
from lowrank.project.configuration import Project
from lowrank.project.views.analyse import described_benchmarks, shaped_by, shaping_scripts
from lowrank.project.views.figures import drawings, figure_module
from lowrank.project.views.recover import (
    loss_curves,
    loss_files,
    recovery_examples,
    recovery_settings,
    training_settings,
)
from lowrank.space.design_space import Decomposition

CONFIG = {
    "models": ["smollm2-135m-instruct"],
    "studies": ["fine_tuning"],
    "benchmarks": {"arc_easy": {"limit": 8}, "hellaswag": {"limit": 8}, "winogrande": {"limit": 8}},
    "device": "cpu",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LOWRANK_HUB", "1")
    shutil.copytree("config", tmp_path / "config")
    return tmp_path / "config"


@pytest.fixture
def project(folder):
    return Project(CONFIG, folder)


def change(path, **changes):
    path.write_text(yaml.safe_dump(read_yaml(path) | changes), encoding="utf-8")


def test_the_name_of_a_configuration_ends_with_what_is_done_to_it(project):
    (model,) = project.models.values()
    names = list(project.decompositions(model))
    assert "dense+one_epoch" in names and "tucker-r1-l3.8.14.20.25-all+as_run" in names
    for name, made in project.decompositions(model).items():
        assert Decomposition.from_name(model.architecture, name) == made
        if made.after:
            before = name.rpartition("+")[0]
            assert project.decomposition(model, before) == made.before
            assert made.removed_parameters(model.architecture) == made.before.removed_parameters(
                model.architecture
            )


def test_a_configuration_before_a_recovery_is_known_by_its_digest_of_ranks(project, folder):
    """A name holds the digest of ranks alone; no study asks for it without the recovery."""
    ranks = {"rank": {"file": "ranks/smollm2-135m-instruct/svd_llm.prose-b0.8.yaml"}}
    own = {"layers": "all", "method": "svd_llm_v2", "calibration": "prose", **ranks}
    study = {"title": "t", "configurations": {"a": own | {"after": ["lora_joint", "next_tokens"]}}}
    (folder / "studies/mine.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    mine = Project(CONFIG | {"studies": ["mine"]}, folder)
    (model,) = mine.models.values()
    _, name = mine.decompositions(model)
    whole = mine.decomposition(model, name)
    once, never = name.rpartition("+")[0], name.partition("+")[0]
    assert mine.decomposition(model, once) == whole.before
    assert mine.decomposition(model, never) == whole.before.before
    assert never == mine.decomposition(model, never).name(model.architecture)


@pytest.mark.parametrize("name", ["dense+Lora", "dense+", "dense++a", "+a", "drop-l3+a b"])
def test_a_name_with_another_ending_is_none(project, name):
    (model,) = project.models.values()
    with pytest.raises(LowrankError, match="is no name of what is done|is not the name of"):
        Decomposition.from_name(model.architecture, name)


def test_layers_of_the_dense_model_are_carried_over(project):
    (model,) = project.models.values()
    settings = recovery_settings(project, model, "as_run")
    (row,) = (
        own
        for own in project.configurations("fine_tuning", model)
        if (own.series, own.label) == ("no tuning", "15%")
    )
    assert settings["dense_layers"] == list(row.decomposition.layers)
    assert settings["steps"] is None and settings["epochs"] == 2
    assert recovery_settings(project, model, "lora_joint")["dense_layers"] is None


def test_what_a_recovery_reads(project):
    paths = ("<r>/{model}/{calibration}", "<r>/{model}/{benchmark}.{shown}")
    expected = ["<r>/{model}/arc_easy.question", "<r>/{model}/arc_challenge.question"]
    assert recovery_examples(project, "as_run", *paths) == expected  # `{model}` is the rule's
    assert recovery_examples(project, "lora_joint", *paths) == ["<r>/{model}/prose_training"]
    entry = training_settings(project, "arc_challenge")
    assert entry["questions"] == 1119 and entry["sources"][0]["mirror"].endswith("train.parquet")


def test_a_benchmark_that_is_trained_on_says_so_and_is_not_in_the_mean(project):
    (model,) = project.models.values()
    found = dict(described_benchmarks(project, "fine_tuning", model))
    assert found["arc_easy"]["label"] == "ARC-Easy, trained on"
    in_mean = {name: own["metric"]["in_mean"] for name, own in found.items()}
    assert in_mean == {"arc_easy": False, "hellaswag": True, "winogrande": True}


def test_a_study_follows_what_shapes_its_recoveries(project, folder):
    (model,) = project.models.values()
    before = shaped_by(project, "fine_tuning", model)
    scripts = shaping_scripts(project, "fine_tuning", model)
    assert {"recover", "prepare_training", "prepare_calibration"} <= scripts.keys()
    change(folder / "recoveries/next_tokens.yaml", label="another name")
    assert shaped_by(Project(CONFIG, folder), "fine_tuning", model) == before
    change(folder / "recoveries/next_tokens.yaml", seed=1)
    after = shaped_by(Project(CONFIG, folder), "fine_tuning", model)
    changed = [
        name
        for name in before["recoveries"]
        if before["recoveries"][name] != after["recoveries"][name]
    ]
    assert changed == ["next_tokens"]


def test_loss_curves_of_a_study(project):
    (model,) = project.models.values()
    curves = loss_curves(project, "fine_tuning", model)
    files = loss_files(project, "fine_tuning", model, "{model}/{parent}+{recovery}")
    assert len(curves) == len(files) == 8
    assert curves[0] == {"series": "one epoch", "label": "0%"}
    assert files[0] == "smollm2-135m-instruct/dense+one_epoch"
    rules = [
        own.rule
        for own in drawings(
            project, [], lambda rule: ["{model}.{study}"] if rule == "figure_losses" else []
        )
    ]
    assert rules.count("figure_losses") == 1


def test_two_studies_of_one_figure_need_a_name_each(folder):
    project = Project(CONFIG | {"studies": ["fine_tuning", "fine_tuning_short"]}, folder)
    for figure in ("figure_fine_tuning", "figure_fine_tuning_short"):
        assert figure_module(project, figure) == "lowrank.figures.figure_recovery"
    change(folder / "studies/fine_tuning_short.yaml", shown_as="figure_fine_tuning")
    expected = "studies: fine_tuning and fine_tuning_short both draw figure_fine_tuning: leave"
    with pytest.raises(LowrankError, match=expected):
        Project(CONFIG | {"studies": ["fine_tuning", "fine_tuning_short"]}, folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"calibration": "prosa"}}, "prosa.yaml does not exist; did you mean 'prose'"),
        ({"data": {"questions": ["hellaswag"], "shown": "answer"}}, "hellaswag has no `training`"),
        ({"data": {"questions": ["arc_easy"]}}, "data"),
        ({"data": {"shown": "answer", "calibration": "prose"}}, "data"),
        ({"epochs": 1, "steps": 4}, ""),
        ({"learning_rate": 0}, "learning_rate: 0 is less than or equal to"),
    ],
)
def test_a_wrong_entry_is_one_line_before_any_job(folder, changes, message):
    change(folder / "recoveries/lora_joint.yaml", **changes)
    study = {"title": "t", "configurations": {"a": {"layers": "none", "after": ["lora_joint"]}}}
    (folder / "studies/mine.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    with pytest.raises(LowrankError, match="recoveries.lora_joint.yaml.*" + message):
        Project(CONFIG | {"studies": ["mine"]}, folder)


def test_an_unknown_recovery_is_named(folder):
    study = {"title": "t", "configurations": {"a": {"layers": "none", "after": ["lora_join"]}}}
    (folder / "studies/mine.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    with pytest.raises(LowrankError, match="lora_join.yaml does not exist.*lora_joint"):
        Project(CONFIG | {"studies": ["mine"]}, folder)
