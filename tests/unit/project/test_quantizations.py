import shutil

import pytest
import yaml
from lowrank.base.errors import LowrankError
from lowrank.project.configuration import Project
from lowrank.project.views.analyse import shaped_by, shaping_scripts
from lowrank.project.views.quantize import below, quantization_settings, quantizations
from lowrank.project.views.recover import loss_files, recoveries
from lowrank.project.views.tables import interaction_rows, size_rows, study_manifests

STUDY = {
    "title": "t",
    "calibration": "prose",
    "series": {
        "tuned": {"after": ["lora_joint"]},
        "few bits": {"after": ["lora_joint", "nf4"]},
        "dense": {"configurations": {"0%": {"layers": "none", "after": ["int8"]}}},
    },
    "configurations": {"20%": {"layers": "all", "method": "svd_llm", "rank": {"share": 0.8}}},
}
CUT = "svd_llm.prose-b0.8-l1-30-all"


def project_of(folder, study):
    (folder / "studies/mine.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    return Project(
        {
            "models": ["smollm2-135m-instruct"],
            "studies": ["mine"],
            "benchmarks": {"arc_easy": {"limit": 8}},
            "device": "cpu",
        },
        folder,
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LOWRANK_HUB", "1")
    shutil.copytree("config", tmp_path / "config")
    return tmp_path / "config"


def test_a_quantized_model_lies_on_the_one_before(folder):
    project = project_of(folder, STUDY)
    (model,) = project.models.values()
    paths = ["{model}/{decomposition}/a", "{model}/{decomposition}/b"]
    expected = [f"{model.name}/{CUT}+lora_joint/{file}" for file in "ab"]
    assert below(project, model, f"{CUT}+lora_joint+nf4", paths) == expected
    assert below(project, model, "dense+int8", paths) == [f"{model.name}/dense/{f}" for f in "ab"]
    for name in ("dense", CUT, f"{CUT}+lora_joint"):
        assert below(project, model, name, paths) == []


def test_steps_are_of_their_kind(folder):
    project = project_of(folder, STUDY)
    (model,) = project.models.values()
    names = list(project.decompositions(model))
    assert recoveries(project, model, names) == ["lora_joint"]
    assert quantizations(project, model, names) == ["int8", "nf4"]
    assert loss_files(project, "mine", model, "{parent}+{recovery}") == [f"{CUT}+lora_joint"]
    scripts = shaping_scripts(project, "mine", model)
    assert {"recover", "quantize"} <= scripts.keys() and "prepare_training" not in scripts
    settings = shaped_by(project, "mine", model)["quantizations"]
    assert settings["nf4"] == quantization_settings(project, "nf4")
    assert settings["nf4"]["method"] == "nf4" and "label" not in settings["nf4"]


def test_rows_of_sizes_have_their_manifests(folder):
    project = project_of(folder, STUDY)
    (model,) = project.models.values()
    found = study_manifests(project, "mine", model, "{decomposition}")
    rows = [(own["series"], own["label"]) for own in size_rows(project, "mine", model)]
    assert dict(zip(rows, found, strict=True)) == {
        ("tuned", "20%"): f"{CUT}+lora_joint",
        ("few bits", "20%"): f"{CUT}+lora_joint+nf4",
        ("dense", "0%"): "dense+int8",
    }


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (["nf4", "lora_joint"], "after: nf4, lora_joint: a quantization is the last of what is"),
        (["nf4", "int8"], "a quantization is the last"),
        (["nf5"], "nf5.yaml does not exist"),
        (["lora_joint", "lora_joint"], "after"),
    ],
)
def test_a_wrong_order_or_name_is_one_line(folder, after, message):
    study = {"title": "t", "configurations": {"a": {"layers": "none", "after": after}}}
    with pytest.raises(LowrankError, match=message):
        project_of(folder, study)


BOTH = {
    "title": "t",
    "calibration": "prose",
    "interactions": True,
    "series": {"16 bits": {}, "few bits": {"after": ["nf4"]}},
    "configurations": {
        "0%": {"layers": "none"},
        "20%": {"layers": "all", "method": "svd_llm", "rank": {"share": 0.8}},
    },
}


def test_a_quantized_compressed_model_is_set_beside_its_parts(folder):
    project = project_of(folder, BOTH)
    (model,) = project.models.values()
    assert interaction_rows(project, "mine", model) == [
        {
            "series": "few bits",
            "label": "20%",
            "both": f"{CUT}+nf4",
            "compression": CUT,
            "quantization": "nf4",
            "alone": "dense+nf4",
        }
    ]


@pytest.mark.parametrize(
    ("series", "labels", "message"),
    [
        (["16 bits"], ["0%", "20%"], "no configuration is compressed and quantized"),
        (["16 bits", "few bits"], ["0%"], "no configuration is compressed and quantized"),
        (["few bits"], ["0%", "20%"], rf"few bits, 20% is compared with {CUT}, which is no"),
        (["16 bits", "few bits"], ["20%"], r"is compared with dense\+nf4, which is no"),
    ],
)
def test_both_parts_of_an_interaction_are_in_the_study(folder, series, labels, message):
    study = BOTH | {
        "series": {name: BOTH["series"][name] for name in series},
        "configurations": {name: BOTH["configurations"][name] for name in labels},
    }
    with pytest.raises(LowrankError, match=message):
        project_of(folder, study)
