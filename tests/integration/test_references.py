"""Measurements that were made elsewhere are drawn by the rules of the run's own."""

import pandas as pd
import pytest
import tiny
from copied_workflow import make_workflow
from lowrank.profile.gpu_reference import measure_reference
from lowrank.project.studies import Model
from lowrank.space.architecture import Architecture

STUDY = {
    "series": {"": {}},
    "method": "tucker",
    "rank": 1,
    "tensors": "all",
    "calibration": "",
    "form": "pairs",
    "after": [],
    "control": False,
    "depth": None,
    "width": None,
    "configurations": {"a": {"layers": [2]}, "b": {"layers": [2, 4]}, "c": {"layers": ["1-4"]}},
}
SETTINGS = {
    "dtype": "float32",
    "device": "cpu",
    "gpus": 1,
    "seed": 0,
    "workloads": [{"phase": "prefill", "prompt": 8, "new_tokens": 0, "batch": 1}],
    "rows": 1,
    "batch": 1,
    "largest_batch": 1,
    "trials": 5,
    "seconds": 0,
    "warm_up": 3,
    "cuda_graphs": True,
}


@pytest.fixture(scope="module")
def workflow(tmp_path_factory):
    made = make_workflow(tmp_path_factory.mktemp("references") / "workflow")
    architecture = Architecture.from_config(tiny.ARCHITECTURE)
    folder = made.folder / "paper/reference/a-device/tiny"
    measure_reference(Model("tiny", "Tiny", [], architecture), STUDY, SETTINGS, folder)
    return made


def test_records_of_another_device_are_part_of_the_run(workflow):
    asked = workflow.jobs()
    own = 3  # of the run's own model; as many of the authors' data
    assert asked["collect_profiles"] == 2
    assert asked["efficiency_figure"] == 3 * own


def test_figures_are_drawn_of_them(workflow):
    targets = [f"figures/reference-a-device/figure_4_{number}.png" for number in (2, 4)]
    asked = {"authors_tables": 1, "collect_profiles": 1, "efficiency_figure": 2}
    assert workflow.jobs(*targets) == asked
    workflow.run(*targets)
    table = pd.read_csv(workflow.folder / targets[0].replace("png", "csv"))
    assert sorted(table["decomposition"]) == [
        "dense",
        "tucker-r1-l1-4-all",
        "tucker-r1-l2-all",
        "tucker-r1-l2.4-all",
    ]


def test_a_second_model_of_a_device_has_a_folder_of_its_own(workflow):
    models = workflow.folder / "config/models"
    (models / "other.yaml").write_text((models / "tiny.yaml").read_text())
    folder = workflow.folder / "paper/reference/a-device"
    (folder / "other").symlink_to(folder / "tiny")
    targets = [f"figures/reference-a-device-{name}/figure_4_2.png" for name in ("tiny", "other")]
    assert workflow.jobs(*targets)["efficiency_figure"] == 2
    (folder / "other").unlink()


def test_records_of_an_unknown_model_are_one_line(workflow):
    folder = workflow.folder / "paper/reference/a-device"
    (folder / "unheard-of").symlink_to(folder / "tiny")
    with pytest.raises(AssertionError) as caught:
        workflow.run("-n")
    assert "error: paper/reference: config: models: " in str(caught.value)
    assert "Traceback" not in str(caught.value)
    (folder / "unheard-of").unlink()


def test_a_measurement_asks_for_as_many_gpus_as_it_uses(workflow):
    workflow.edit_yaml("config/config.yaml", lambda config: config["profile"].update(gpus=2))
    target = "results/models/tiny/profiles/dense.json"
    # The run's own measurement, and none of the few jobs before it, takes both.
    said = workflow.run("-n", "--config", "device=cuda", "--", target)
    asked = {block.split(":")[0]: "gpu=2" in block for block in said.split("\nrule ")[1:]}
    assert asked["profile"] and not asked["compress"]
