"""Texts and calibration sets: what a project says of them, and of mistakes in them."""

import shutil

import pytest
import yaml
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml
from lowrank.project.configuration import Project
from lowrank.project.views.assets import calibration_settings, calibration_text, text_settings

CONFIG = {"models": ["minilm-l6"], "studies": ["bert_figure_3_6"], "benchmarks": {"mrpc": {}}}


@pytest.fixture
def folder(tmp_path):
    """A copy of the registries that a test may edit."""
    shutil.copytree("config", tmp_path / "config")
    return tmp_path / "config"


def test_shipped_entries_are_valid_and_those_of_wheels_need_no_hub(monkeypatch):
    monkeypatch.delenv("LOWRANK_MIRROR", raising=False)
    monkeypatch.setenv("LOWRANK_HUB", "0")
    project = Project(CONFIG, "config")
    folder = project.registry.folder
    texts = {path.stem for path in folder.glob("texts/*.yaml")}
    names = {path.stem for path in folder.glob("calibration/*.yaml")}
    others = {"prose_short", "web_short", "prose_training"}
    assert texts == {"prose", "web", "code", "wikitext2"} == names - others
    for name in texts - {"wikitext2"}:
        entry = project.calibration(name)
        assert entry == entry | {"text": name, "samples": 64, "length": 512, "seed": 0}
    for name in ("prose", "web"):
        short = project.calibration(f"{name}_short")
        assert short == short | {"text": name, "samples": 16, "length": 512, "seed": 0}
    with pytest.raises(LowrankError, match="wikitext2.yaml: text wikitext2 has no source here"):
        project.calibration("wikitext2")
    monkeypatch.setenv("LOWRANK_HUB", "1")
    assert project.calibration("wikitext2")["length"] == 2048


def test_a_mirror_must_hold_both_parts(monkeypatch, tmp_path):
    monkeypatch.setenv("LOWRANK_HUB", "0")
    monkeypatch.setenv("LOWRANK_MIRROR", str(tmp_path))
    project = Project(CONFIG, "config")
    (tmp_path / "wikitext/wikitext-2-raw-v1").mkdir(parents=True)
    for name in ("test", "train"):
        with pytest.raises(LowrankError, match="has no source here"):
            project.calibration("wikitext2")
        (tmp_path / "wikitext/wikitext-2-raw-v1" / f"{name}.parquet").touch()
    assert project.calibration("wikitext2")["samples"] == 256


def test_what_rules_ask_is_what_shapes_their_files(monkeypatch):
    monkeypatch.setenv("LOWRANK_HUB", "1")
    project = Project(CONFIG, "config")
    assert set(text_settings(project, "prose")) == {
        *("name", "licence", "sources", "held_out", "held_out_at"),
    }
    assert text_settings(project, "wikitext2")["parts"] == {
        "calibration": "train",
        "evaluation": "test",
    }
    assert calibration_text(project, "code", "texts/{text}.txt") == "texts/code.txt"
    assert calibration_settings(project, "web") == {"samples": 64, "length": 512, "seed": 0}


def edited(folder, kind, name, **changes):
    """Change an entry; None takes a key away."""
    path = folder / kind / f"{name}.yaml"
    entry = read_yaml(path) | changes
    entry = {key: value for key, value in entry.items() if value is not None}
    path.write_text(yaml.safe_dump(entry))


PARTED = {"mirror": "{subset}.txt", "sha256": "0" * 64, "format": "lines"}
WHOLE = {"wheel": "a==1", "sha256": "0" * 64, "members": ["a"], "format": "lines"}


@pytest.mark.parametrize(
    ("kind", "name", "changes", "message"),
    [
        ("texts", "prose", {"held_out": 1}, "prose.yaml: held_out: 1 is greater than or equal"),
        ("texts", "prose", {"held_out": None}, "prose.yaml: it needs either `parts` or `held_out`"),
        ("texts", "wikitext2", {"held_out": 0.1}, "it needs either `parts` or `held_out`"),
        ("texts", "prose", {"held_out_at": "start"}, "held_out_at: 'start' is not one of"),
        ("texts", "prose", {"sources": [PARTED]}, "sources.0: it has a place for `{subset}`"),
        ("texts", "wikitext2", {"sources": [WHOLE]}, "sources.0: it has no place for `{subset}`"),
        ("texts", "prose", {"sources": [WHOLE | {"sha256": "?"}]}, "prose.yaml: sources.0"),
        ("texts", "prose", {"sources": [WHOLE | {"wheel": "a"}]}, "prose.yaml: sources.0"),
        ("texts", "prose", {"parts": {"calibration": "a"}}, "'evaluation' is a required property"),
        ("texts", "prose", {"licence": None}, "'licence' is a required property"),
        ("texts", "prose", {"helt_out": 0.1}, "helt_out: unknown key; did you mean 'held_out'"),
        ("calibration", "prose", {"samples": 0}, "samples: 0 is less than the minimum of 1"),
        ("calibration", "prose", {"length": 1.5}, "length: 1.5 is not a whole number"),
        ("calibration", "prose", {"text": "prosa"}, "prosa.yaml does not exist; did you mean 'pro"),
    ],
)
def test_mistakes_are_one_clear_line(folder, monkeypatch, kind, name, changes, message):
    monkeypatch.setenv("LOWRANK_HUB", "1")
    edited(folder, kind, name, **changes)
    with pytest.raises(LowrankError) as caught:
        Project(CONFIG, folder).calibration(name)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_name_that_is_not_there():
    with pytest.raises(LowrankError, match="config/calibration/proze.yaml does not exist; did you"):
        Project(CONFIG, "config").calibration("proze")
