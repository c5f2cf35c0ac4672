"""The project whose tables are made."""

import pytest
from lowrank.base.files import read_yaml
from lowrank.project.configuration import Project


@pytest.fixture
def project(monkeypatch):
    monkeypatch.setenv("LOWRANK_HUB", "1")
    return Project(read_yaml("config/config.yaml"), "config")
