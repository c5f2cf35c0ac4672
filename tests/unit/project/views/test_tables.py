"""Architectures that tables show, of models and of none."""

import shutil

import pytest
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml
from lowrank.project.configuration import Project
from lowrank.project.registry import Registry
from lowrank.project.views.tables import shapes


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
