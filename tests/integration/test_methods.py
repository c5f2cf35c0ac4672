"""Methods that read what goes into a module, on the tiny model: one real DAG, and what reruns."""

import pandas as pd
import pytest
import tiny
import yaml
from copied_workflow import make_workflow

STUDY = {
    "title": "Methods",
    "figure": "figure_methods",
    "losses": True,
    "sizes": True,
    "interactions": True,
    "calibration": "made",
    "series": {
        "SVD-LLM": {"method": "svd_llm"},
        "SVD-LLM, tuned": {"method": "svd_llm", "after": ["tuned"]},
        "SVD-LLM, tuned, 4 bits": {"method": "svd_llm", "after": ["tuned", "nf4"]},
        "dense, 4 bits": {"configurations": {"0%": {"layers": "none", "after": ["nf4"]}}},
        "dense, tuned": {"configurations": {"0%": {"layers": "none", "after": ["taught"]}}},
        "LoRD, pivoted": {"method": "lord", "form": "pivoted"},
        "ROM": {"method": "rom"},
    },
    "configurations": {"20%": {"layers": "all", "rank": {"share": 0.8}}},
}

RECOVERIES = {
    "tuned": {"data": {"calibration": "made"}, "steps": 3, "held_out": 2},
    "taught": {"data": {"questions": ["arc_easy"], "shown": "answer"}, "epochs": 1},
}


@pytest.fixture(scope="module")
def workflow(tmp_path_factory):
    made = make_workflow(tmp_path_factory.mktemp("methods") / "workflow")
    config, path = made.folder / "config", made.folder / "mirror/made.txt"
    path.write_text("\n\n".join(tiny.words(seed, 60) for seed in range(20)))
    text = {"label": "Made", "licence": "CC0-1.0", "held_out": 0.2}
    text["sources"] = [{"mirror": "made.txt", "sha256": tiny.sha256(path), "format": "paragraphs"}]
    (config / "texts/made.yaml").write_text(yaml.safe_dump(text))
    calibration = {"label": "Made", "text": "made", "samples": 8, "length": 32}
    (config / "calibration/made.yaml").write_text(yaml.safe_dump(calibration))
    (config / "studies/methods.yaml").write_text(yaml.safe_dump(STUDY))
    for name, entry in RECOVERIES.items():
        entry = {"label": name, "learning_rate": 0.01, "batch": 2, **entry}
        (config / f"recoveries/{name}.yaml").write_text(yaml.safe_dump(entry))
    questions = tiny.write_parquet(
        tiny.arc_rows(20, seed=7), made.folder / "mirror/training.parquet"
    )

    def has_training(benchmark):
        benchmark["splits"]["train"] = 20
        training = {"mirror": "training.parquet", "sha256": tiny.sha256(questions)}
        benchmark["training"] = [training]

    made.edit_yaml("config/benchmarks/arc_easy.yaml", has_training)
    made.edit_yaml("config/config.yaml", lambda run: run.update(studies=["methods"]))
    made.edit_yaml("config/config.yaml", lambda run: run["profile"].update(study=None))
    made.run()
    return made


def test_every_method_makes_a_model_that_is_scored(workflow):
    models = workflow.folder / "results/models/tiny"
    names = {
        path.parent.name: tiny.read_json(path) for path in models.glob("compressed/*/manifest.json")
    }
    assert set(names) == {
        "dense",
        "dense+nf4",
        "dense+taught",
        "svd_llm.made-b0.8-l1-4-all",
        "svd_llm.made-b0.8-l1-4-all+tuned",
        "svd_llm.made-b0.8-l1-4-all+tuned+nf4",
        "lord.made-p0.8-l1-4-all-pivoted",
        "rom.made-b0.8-l1-4-all",
    }
    for name in names:
        assert tiny.read_json(models / f"evaluations/{name}.json")["benchmarks"]
    assert (workflow.folder / "figures/tiny/figure_methods.png").stat().st_size > 0
    of_bits = tiny.read_json(
        models / "compressed/svd_llm.made-b0.8-l1-4-all+tuned+nf4/manifest.json"
    )
    assert of_bits["below"]["name"] == "svd_llm.made-b0.8-l1-4-all+tuned"
    sizes = pd.read_csv(workflow.folder / "figures/tiny/sizes_methods.csv")
    assert sizes.set_index("Configuration")["Stored as"]["SVD-LLM, tuned, 4 bits, 20%"] == "nf4"
    beyond = pd.read_csv(workflow.folder / "figures/tiny/interactions_methods.csv")
    assert set(beyond["both"]) == {"svd_llm.made-b0.8-l1-4-all+tuned+nf4"}
    assert (beyond["interaction_low"] <= beyond["interaction_high"]).all()
    whole = beyond["loss_of_both"] - beyond["loss_of_compression"] - beyond["loss_of_quantization"]
    assert (whole - beyond["interaction"]).abs().max() < 1e-9
    assert (workflow.folder / "figures/tiny/losses_methods.png").stat().st_size > 0
    assert not list(models.glob("compressed/*.work"))
    assert not (models / "moments/made").exists()  # large, and quickly made again
    assert workflow.jobs() == {}


def test_another_calibration_set_makes_what_rests_on_it_anew(workflow):
    workflow.edit_yaml("config/calibration/made.yaml", lambda entry: entry.update(seed=1))
    jobs = workflow.jobs()
    assert jobs["prepare_calibration"] == jobs["gather_moments"] == 1
    assert jobs["factorize_layer"] == 8 and jobs["compress"] == 2
    assert jobs["compress_in_sequence"] == jobs["recover"] == jobs["quantize"] == 1
    assert jobs["evaluate"] == 5
    workflow.edit_yaml("config/calibration/made.yaml", lambda entry: entry.update(seed=0))


def test_an_edit_of_a_method_makes_its_models_anew(workflow):
    path = workflow.folder / "workflow/lowrank/decompose/calibrated.py"
    before = path.read_text()
    workflow.edit_code("workflow/lowrank/decompose/calibrated.py")
    jobs = workflow.jobs()
    path.write_text(before)
    assert (jobs["factorize_layer"], jobs["compress_in_sequence"]) == (8, 1)
    assert "prepare_calibration" not in jobs


def test_an_edited_recovery_trains_its_models_anew_and_nothing_else(workflow):
    workflow.edit_yaml("config/recoveries/taught.yaml", lambda entry: entry.update(seed=1))
    jobs = workflow.jobs()
    assert (jobs["recover"], jobs["evaluate"], jobs["figure_losses"]) == (1, 1, 1)
    assert "compress" not in jobs and "prepare_training" not in jobs
    workflow.edit_yaml("config/recoveries/taught.yaml", lambda entry: entry.pop("seed"))
    workflow.edit_yaml("config/recoveries/taught.yaml", lambda entry: entry.update(label="named"))
    assert workflow.jobs() == {}
