"""Architectures that tables show, of models and of none."""

import shutil

import pytest
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml
from lowrank.project.configuration import Project
from lowrank.project.registry import Registry
from lowrank.project.views.analyse import shaping_scripts
from lowrank.project.views.decompose import layer_factors
from lowrank.project.views.tables import cost_manifests, cost_rows, shapes


@pytest.fixture
def project():
    return Project(read_yaml("config/config.yaml"), "config")


def test_shapes_of_models_and_architectures(project):
    model = read_yaml("config/models/llama-2-7b.yaml")
    assert shapes(project, "llama-2-7b")["architecture"] == model["architecture"]
    assert shapes(project, "resnet-50")["label"] == "ResNet50"
    for path in project.registry.folder.glob("architectures/*.yaml"):
        assert not (project.registry.folder / "models" / path.name).exists() or (
            read_yaml(path)["architecture"]
            == read_yaml(project.registry.folder / "models" / path.name)["architecture"]
        )
    with pytest.raises(LowrankError, match="resnet-5.yaml does not exist; did you mean"):
        shapes(project, "resnet-5")


def test_a_wrong_architecture_file_is_one_line(project, tmp_path):
    shutil.copytree("config", tmp_path / "config")
    project.registry = Registry(tmp_path / "config")
    path = project.registry.folder / "architectures" / "resnet-50.yaml"
    path.write_text(path.read_text() + "sources: []\n")
    with pytest.raises(LowrankError, match="resnet-50.yaml: sources: unknown key"):
        shapes(project, "resnet-50")


RECORDS = {
    "gather_moments": "c/{model}/walk/{calibration}",
    "gather_gradients": "c/{model}/back/{calibration}",
    "factorize_layer": "c/{model}/{factorization}/{layer}",
    "compress": "c/{model}/cut/{decomposition}",
    "compress_in_sequence": "c/{model}/sequence/{method}.{calibration}-{rest}",
}
OWN = """
title: Own
calibration: prose
costs: true
configurations:
  a: {layers: [3, 5], method: svd}
  b: {layers: [2, 3], method: svd, rank: 8, form: pivoted}
  c: {layers: [4], method: lord}
  d: {layers: [6, 7], method: rom}
  e: {layers: [6, 7], method: rom, calibration: prose_short}
  f: {layers: [9], method: drop}
  g: {layers: [4, 5], method: taylor, rank: {share: 0.5}}
"""


@pytest.fixture
def costing(tmp_path, monkeypatch):
    monkeypatch.setenv("LOWRANK_HUB", "1")
    folder = shutil.copytree("config", tmp_path / "config")
    (folder / "studies" / "own.yaml").write_text(OWN)
    settings = {"models": ["smollm2-135m-instruct"], "studies": ["own"], "device": "cpu"}
    return Project(settings | {"benchmarks": {"arc_easy": {}}}, folder)


def test_costs_are_those_of_the_jobs_behind_a_study(costing):
    model = costing.models["smollm2-135m-instruct"]
    rows = cost_rows(costing, "own", model, RECORDS.__getitem__)
    named = {".".join(filter(None, (row["method"], row["calibration"]))): row for row in rows}
    assert list(named) == ["svd", "lord.prose", "rom.prose", "rom.prose_short", "taylor.prose"]
    start = f"c/{model.name}"
    svd = named["svd"]
    assert (svd["tokens"], svd["walk"], svd["layers"]) == (None, None, [2, 3, 5])
    # The layers of a row are those that its configurations are cut from, each once.
    cut = [path.rpartition("/")[2] for path in svd["configurations"]]
    of_layers = {
        path
        for name in cut
        for path in layer_factors(costing, model, name, RECORDS["factorize_layer"])
    }
    assert {svd["factors"].format(layer=layer) for layer in svd["layers"]} == of_layers
    lord, rom = named["lord.prose"], named["rom.prose"]
    assert (lord["walk"], lord["tokens"]) == (f"{start}/walk/prose", 64 * 512)
    assert lord["factors"] == f"{start}/lord.prose/{{layer}}" and lord["layers"] == [4]
    # Behind compressed modules there is no walk to share, and no factors to cut.
    assert (rom["walk"], rom["layers"], rom["tokens"]) == (None, [], 64 * 512)
    assert rom["configurations"] == [f"{start}/sequence/rom.prose-r1-l6-7-all"]
    assert named["rom.prose_short"]["tokens"] == 16 * 512
    taylor = named["taylor.prose"]
    assert (taylor["walk"], taylor["layers"]) == (f"{start}/back/prose", [4, 5])


def test_the_walk_back_is_one_of_the_scripts_behind_scores(costing):
    model = costing.models["smollm2-135m-instruct"]
    assert "gather_gradients" in shaping_scripts(costing, "own", model)


def test_the_machine_is_read_from_every_configuration_that_has_a_row(costing):
    model = costing.models["smollm2-135m-instruct"]
    paths = cost_manifests(costing, "own", model, "{model}/{decomposition}/m")
    names = {path.split("/")[1] for path in paths}
    assert len(paths) == len(names) == 6
    assert names < set(costing.decompositions(model))
    assert not any(name.startswith(("dense", "drop")) for name in names)
