"""Only what changed reruns: the jobs of a real DAG, counted."""

import json
import shutil
import subprocess
import tarfile
import time

import pandas as pd
import pyarrow.parquet
import pytest
import tiny
from copied_workflow import Workflow
from lowrank.archive.packing import pack
from workflow_copy import check_out

STUDY = "config/studies/table_4_2.yaml"
REPORT = {"build_report": 1}
FACTS = {"gather_facts": 1, **REPORT}
LEDGER = {"judge_claims": 1, "claims_table": 1, **REPORT}
FIGURE = {"accuracy_figure": 1, **REPORT}
SCHEMATICS = {"schematic": 3}
COMPRESSED = {"factorize_layer": 4, "compress": 4}
TABLES = {"table_1_1": 1, "table_3_1": 1, "table_4_1": 1, **FACTS}
EFFICIENCY = {"efficiency_figure": 3, **REPORT}
EVERY_FIGURE = {"accuracy_figure": 2, **REPORT}  # the authors' data, too
EVERY_EFFICIENCY = {"efficiency_figure": 6, **REPORT}
AUTHORS = {"authors_tables": 1, **EVERY_FIGURE, **EVERY_EFFICIENCY, **LEDGER}
SLOPES = {"collect_profiles": 1, **EFFICIENCY, **LEDGER, **FACTS}
PROFILES = {"profile": 4, **SLOPES}
SUMMARY = {"collect_accuracy": 1, **FIGURE, **LEDGER, **FACTS}


def test_the_whole_dag(finished):
    folder = finished.folder
    assert not finished.jobs()
    results = sorted((folder / "results/models/tiny/evaluations").glob("*.json"))
    assert len(results) == 4
    for result in map(tiny.read_json, results):
        asked = {name: own["questions"] for name, own in result["benchmarks"].items()}
        assert asked == {key: {"asked": 6, "available": 12} for key in ("arc_easy", "winogrande")}
    records = sorted((folder / "results/models/tiny/profiles").glob("*.json"))
    assert len(records) == 4
    names = [workload["name"] for workload in tiny.read_json(records[0])["workloads"]]
    assert names == ["prefill 8, batch 1", "decode 8+2, batch 1", "ARC-Easy"]
    for name in ("figure_4_1", "figure_4_2", "figure_4_3", "figure_4_4", "table_4_2"):
        for suffix in ("csv", "pdf", "png"):
            assert (folder / f"figures/tiny/{name}.{suffix}").stat().st_size > 0
            if name != "table_4_2":
                assert (folder / f"figures/authors/{name}.{suffix}").stat().st_size > 0
    assert (folder / "figures/llama-2-7b/table_4_2.csv").exists()
    for name in ("figure_1_1", "figure_3_1", "figure_3_3"):
        for suffix in ("pdf", "png"):
            assert (folder / f"figures/thesis/{name}.{suffix}").stat().st_size > 0
    for table in ("table_1_1", "table_3_1", "table_4_1"):
        assert (folder / f"figures/thesis/{table}.png").stat().st_size > 0
    leftovers = [path for path in folder.rglob(".*.*") if path.parent.name in ("tiny", "models")]
    assert not leftovers


def test_a_fresh_clone_with_shipped_results_has_nothing_to_do(workflow):
    assert workflow.jobs() == {}


def test_a_run_of_the_root_is_a_run_of_the_catalog(workflow):
    assert workflow.jobs("-s", "workflow/Snakefile") == {}


def test_an_archive_that_is_unpacked_in_a_clone_reruns_nothing(finished, tmp_path):
    """Neither the dense weights nor the wheels are in it."""
    clone = Workflow(tmp_path / "clone")
    clone.folder.mkdir()
    check_out(finished.folder, clone.folder)
    shutil.copytree(finished.folder / "mirror", clone.folder / "mirror")
    pack(finished.folder, "results", "figures", tmp_path / "archive.tar.gz")
    with tarfile.open(tmp_path / "archive.tar.gz") as archive:
        archive.extractall(clone.folder, filter="data")
    assert not (clone.folder / "results/models/tiny/weights").exists()
    assert clone.jobs() == {}


def test_touching_every_source_reruns_nothing(workflow):
    time.sleep(0.01)
    for path in workflow.folder.rglob("*"):
        inside = path.relative_to(workflow.folder).parts[0]
        if path.is_file() and inside in (
            "Snakefile",
            "workflow",
            "config",
            "paper",
            "requirements.lock",
        ):
            path.touch()
    assert workflow.jobs() == {}


def test_layers_of_one_configuration(workflow):
    def change(study):
        study["configurations"]["one"]["layers"] = [3]

    workflow.edit_yaml(STUDY, change)
    assert workflow.jobs() == {
        "compress": 1,
        "evaluate": 1,
        "table_4_2": 2,
        **SUMMARY,
        **PROFILES,
        "profile": 1,
    }


def test_a_configuration_that_another_study_has_is_not_evaluated_again(workflow):
    def change(study):
        study["configurations"]["again"] = {"layers": [4, 2]}

    workflow.edit_yaml(STUDY, change)
    assert workflow.jobs() == {"table_4_2": 2, **SUMMARY}


def test_a_larger_rank_refactors_and_keeps_what_it_can(workflow):
    def change(study):
        study["configurations"]["rank"] = {"layers": [1], "rank": 4}

    workflow.edit_yaml(STUDY, change)
    assert workflow.jobs()["factorize_layer"] == 4


def test_every_rule_for_ranks_runs_and_a_rank_file_reruns_its_configuration_alone(workflow):
    ranks = {"2": {"q": 3, "d": 1}, "4": {"q": 6, "d": 9}}
    file = workflow.folder / "config/ranks/tiny.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(ranks))

    def change(study):
        fields = {"method": "svd", "tensors": ["q", "d"]}
        study["configurations"] |= {
            "a rank": {"layers": [2], "rank": 5, **fields},
            "a share": {"layers": [2], "rank": {"break_even": 0.6}, **fields},
            "a module": {"layers": [2, 4], "rank": {"file": "ranks/tiny.json"}, **fields},
        }

    workflow.edit_yaml(STUDY, change)
    targets = ["results/models/tiny/studies/table_4_2.csv", "figures/tiny/table_4_2.csv"]
    made = {"compress": 3, "evaluate": 3, "collect_accuracy": 1, "table_4_2": 1}
    assert workflow.jobs(*targets) == {"factorize_layer": 2, **made}
    workflow.run(*targets)
    table = pd.read_csv(workflow.folder / targets[0])
    rows = table[table["benchmark"] == "arc_easy"].set_index("label")
    labels = {"a rank": "5", "a share": "0.6 of break-even", "a module": "ranks a module"}
    assert {label: rows["rank"][label] for label in labels} == labels
    # q is 32 × 32 and breaks even at 16, d is 32 × 48 and breaks even at 19.2.
    kept = {"a rank": [5, 5], "a share": [9, 11], "a module": [3, 1, 6, 9]}
    reductions = {}
    for label, expected in kept.items():
        name = rows["decomposition"][label]
        compressed = workflow.folder / "results/models/tiny/compressed" / name
        manifest = tiny.read_json(compressed / "manifest.json")
        modules = manifest["modules"].values()
        found = {(entry["layer"], entry["tensor"]): entry["rank"] for entry in modules}
        layers = manifest["decomposition"]["layers"]
        assert [found[layer, tensor] for layer in layers for tensor in ("q", "d")] == expected
        reductions[label] = manifest["parameter_reduction_percent"]
        assert rows["parameter_reduction_percent"][label] == pytest.approx(reductions[label])
    printed = pd.read_csv(workflow.folder / targets[1]).set_index("Label")["Computed (%)"]
    assert {label: printed[label] for label in kept} == {
        label: round(value, 2) for label, value in reductions.items()
    }

    def jobs_with(ranks):
        file.write_text(json.dumps(ranks))
        return workflow.jobs(*targets)

    unused = {"1": {"q": 20}, **dict(reversed(ranks.items()))}
    assert jobs_with(unused) == {}
    changed = {**ranks, "2": {"q": 3, "d": 2}}
    assert jobs_with(changed) == {**made, "compress": 1, "evaluate": 1}


def test_what_the_thesis_prints(workflow):
    def change(thesis):
        thesis["table_1_1"]["resnet-50"]["ratio"] = 160.0

    workflow.edit_yaml("paper/thesis.yaml", change)
    assert workflow.jobs() == {**TABLES, **SLOPES, **AUTHORS}


def test_what_the_authors_published(workflow):
    path = workflow.folder / "paper/authors/accuracy.csv"
    text = path.read_text()
    assert "0.6957070707070707" in text
    path.write_text(text.replace("0.6957070707070707", "0.6"))
    assert workflow.jobs() == {**AUTHORS, **FACTS}


def test_a_kept_run_of_another_scale(workflow):
    path = workflow.folder / "paper/reference/laptop/claims.json"
    path.write_text(path.read_text() + "\n")
    assert workflow.jobs() == LEDGER


def test_limit_of_one_benchmark(workflow):
    def change(config):
        config["benchmarks"]["arc_easy"]["limit"] = 8

    workflow.edit_yaml("config/config.yaml", change)
    expected = {"prepare_requests": 1, "evaluate": 4, "table_4_1": 1, **SUMMARY, **PROFILES}
    assert workflow.jobs() == expected


def answers(workflow):
    """The keys of all kept answers, of each configuration, with repetitions."""
    found = {}
    for path in sorted(workflow.folder.glob("results/answers/tiny/*/*/*.parquet")):
        keys = pyarrow.parquet.read_table(path)["key"].to_pylist()
        found.setdefault(path.parts[-3], []).extend(keys)
    return found


def test_a_larger_limit_asks_the_new_questions_alone(workflow):
    """On a CPU eight questions are asked together: six have been eight, and twelve are four more.

    ARC-Easy has four choices a question, WinoGrande two.
    """

    def ask(benchmark, limit):
        def change(config):
            config["benchmarks"][benchmark]["limit"] = limit

        workflow.edit_yaml("config/config.yaml", change)
        workflow.run("results/models/tiny/studies/table_4_2.csv")
        found = answers(workflow)
        assert len(found) == 4  # configurations, with the dense one
        assert all(len(keys) == len(set(keys)) for keys in found.values())
        return found

    before = answers(workflow)
    assert {len(keys) for keys in before.values()} == {8 * 4 + 8 * 2}
    assert ask("arc_easy", 8) == before
    after = ask("arc_easy", 12)
    for name, keys in before.items():
        assert set(keys) < set(after[name]) and len(after[name]) == len(keys) + 4 * 4
    last = ask("winogrande", None)
    assert {len(keys) for keys in last.values()} == {12 * 4 + 12 * 2}
    # What has been asked is not asked again for fewer questions.
    assert ask("winogrande", 3) == last


def test_a_study_that_does_not_show_a_benchmark_is_not_made_again(workflow):
    """Though its configurations are evaluated anew, of which one is asked both benchmarks."""
    other = {"title": "Other", "benchmarks": ["winogrande"], "configurations": {}}
    other["configurations"]["last"] = {"layers": [4]}
    path = workflow.folder / "config/studies/other.yaml"
    path.write_text(json.dumps(other))

    def add(config):
        config["studies"].append("other")

    def ask_more(config):
        config["benchmarks"]["arc_easy"]["limit"] = 8

    def ask_one_more(config):
        config["asked"] = {"tiny": {"tucker-r1-l4-all": {"winogrande": 8}}}

    workflow.edit_yaml("config/config.yaml", add)
    workflow.run()
    assert workflow.jobs() == {}
    study = workflow.folder / "results/models/tiny/studies/other.csv"
    state = study.stat()
    workflow.edit_yaml("config/config.yaml", ask_more)
    # Of the five configurations, four are asked ARC-Easy.
    expected = {"prepare_requests": 1, "evaluate": 4, "table_4_1": 1, **SUMMARY, **PROFILES}
    assert workflow.jobs() == expected
    workflow.run()
    assert workflow.jobs() == {}
    assert study.stat().st_mtime_ns == state.st_mtime_ns
    workflow.edit_yaml("config/config.yaml", ask_one_more)
    made = {"prepare_requests": 1, "evaluate": 1, "collect_accuracy": 1, "table_4_1": 1}
    assert workflow.jobs() == {**made, **LEDGER, **FACTS}
    workflow.run()
    assert workflow.jobs() == {}
    table = pd.read_csv(study).set_index("label")
    assert table.loc["last", "questions"].tolist() == [8, 8]
    assert table.loc["last", "questions_paired"].tolist() == [6, 6]


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("figures/style", {**EVERY_FIGURE, **EVERY_EFFICIENCY, **SCHEMATICS}),
        ("figures/schematic", {**SCHEMATICS, **REPORT}),
        ("figures/figure_4_1", EVERY_FIGURE),
        ("figures/figure_3_3", {"schematic": 1, **REPORT}),
        ("figures/figure_3_2", {}),
        ("running/warm_start", {"evaluate": 4, **SUMMARY}),
        ("tables/typesetting", {**TABLES, "table_4_2": 2, **LEDGER}),
        ("space/enumeration", {"table_3_1": 1, **LEDGER, **FACTS}),
        ("claims/operators", LEDGER),
        ("claims/kept", LEDGER),
        ("base/authors", {**AUTHORS, **FACTS}),
        ("tables/claims", {"claims_table": 1}),
        ("tables/macs", {"table_1_1": 1, **FACTS}),
        ("paper/facts", FACTS),
        ("paper/published", FACTS),
        ("paper/document", REPORT),
        ("analyse/accuracy", {**SUMMARY, **AUTHORS}),
        ("analyse/authors", AUTHORS),
        ("base/metric", {"table_4_1": 1, "evaluate": 4, **SUMMARY, **AUTHORS}),
        ("base/statistics", {"evaluate": 4, **SUMMARY, **AUTHORS}),
        ("evaluate/causal", {"evaluate": 4, **SUMMARY}),
        ("decompose/svd", {**COMPRESSED, "evaluate": 4, **SUMMARY, **PROFILES}),
        ("evaluate/requests", {"prepare_requests": 2, "evaluate": 4, **SUMMARY, **PROFILES}),
        ("evaluate/result", {"evaluate": 4, **SUMMARY}),
        ("evaluate/metrics/squad", {}),
        ("evaluate/packed/limits", {"evaluate": 4, **SUMMARY}),
        ("evaluate/store", {"evaluate": 4, **SUMMARY}),
        ("analyse/answers", {**SUMMARY, **AUTHORS}),
        ("base/paired", {**SUMMARY, **AUTHORS}),
        (
            "assets/questions",
            {
                "fetch_benchmark": 2,
                "prepare_requests": 2,
                "evaluate": 4,
                "table_4_1": 1,
                **SUMMARY,
                **PROFILES,
            },
        ),
        ("profile/rounds", PROFILES),
        ("profile/nvml", PROFILES),
        ("running/nvml", {**COMPRESSED, "compress": 3, "evaluate": 4, **SUMMARY, **PROFILES}),
        ("analyse/efficiency", {**SLOPES, **AUTHORS}),
        ("profile/gpu_reference", {}),
        ("figures/efficiency", EVERY_EFFICIENCY),
        ("decompose/export", {}),
        ("decompose/pretrained_model", {}),
        ("decompose/linear", {"prepare_requests": 2, "evaluate": 4, **SUMMARY, **PROFILES}),
        ("decompose/loading", {"prepare_requests": 2, "evaluate": 4, **SUMMARY, **PROFILES}),
        ("project/configuration", {}),
        ("project/scorers", {"evaluate": 4, **SUMMARY}),
        ("project/views/paper", {}),
        ("running/imports", {}),
    ],
)
def test_an_edited_module_reruns_what_uses_it(workflow, module, expected):
    workflow.edit_code(f"workflow/lowrank/{module}.py")
    assert workflow.jobs() == expected


def test_a_model_revision(workflow):
    tiny.save_model(workflow.folder / "mirror" / "tiny", seed=1)

    def change(model):
        path = workflow.folder / "mirror" / "tiny" / "model.safetensors"
        model["sources"][0]["sha256"]["model.safetensors"] = tiny.sha256(path)

    workflow.edit_yaml("config/models/tiny.yaml", change)
    everything = {
        "fetch_model": 1,
        **COMPRESSED,
        "prepare_requests": 2,
        "evaluate": 4,
        **SUMMARY,
        **PROFILES,
    }
    assert workflow.jobs() == everything


def test_a_lost_result_is_made_again_alone(workflow):
    lost = "results/models/tiny/evaluations/dense.json"
    (workflow.folder / lost).unlink()
    assert workflow.jobs(lost) == {"evaluate": 1}


def test_a_wrong_checksum_stops_the_run_and_names_the_file(workflow):
    def change(model):
        model["sources"][0]["sha256"]["config.json"] = "0" * 64

    workflow.edit_yaml("config/models/tiny.yaml", change)
    with pytest.raises(AssertionError) as caught:
        workflow.run()
    assert "error: wrong checksum: " in str(caught.value)
    assert "mirror/tiny/config.json has sha256" in str(caught.value)


def test_a_run_allowed_more_gpus_than_there_are_stops_before_any_job(workflow, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    command = workflow.command("--resources", "gpu=4", "--config", "device=cuda")
    done = subprocess.run(
        command, cwd=workflow.folder, env=workflow.environment, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "error: `--resources gpu=4` allows more GPUs than the 2" in done.stderr
    assert "jobid" not in done.stderr and "Traceback" not in done.stderr


def test_what_a_shell_would_act_on_stays_text(workflow):
    hostile = 'Ti ny\'s "model"; $(touch exploded) `touch exploded` & * $^'

    def name(entry):
        entry["label"] = hostile

    workflow.edit_yaml("config/models/tiny.yaml", name)
    workflow.edit_yaml(STUDY, lambda study: study.update(title=hostile))
    for benchmark in ("arc_easy", "winogrande"):
        workflow.edit_yaml(f"config/benchmarks/{benchmark}.yaml", name)
    workflow.run()
    assert not list(workflow.folder.rglob("exploded"))
    claims = (workflow.folder / "results" / "claims.json").read_text()
    assert json.dumps(hostile)[1:-1] in claims


def test_a_killed_run_resumes_without_redoing_what_was_finished(finished, workflow):
    evaluations = workflow.folder / "results/models/tiny/evaluations"
    for made in (evaluations, workflow.folder / "results/models/tiny/studies"):
        shutil.rmtree(made)
    shutil.rmtree(workflow.folder / "figures")
    run = workflow.start()
    deadline = time.monotonic() + 120
    # Two run side by side: the third is written when one of the first two is known to be done.
    while len(list(evaluations.glob("*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    workflow.kill(run)
    workflow.run("--unlock")
    times = {path: path.stat().st_mtime_ns for path in evaluations.glob("*.json")}
    remaining = workflow.jobs()["evaluate"]
    assert 0 < remaining < 4
    workflow.run()
    results = list(evaluations.glob("*.json"))
    redone = [path for path in results if times.get(path) != path.stat().st_mtime_ns]
    assert len(results) == 4 and len(redone) == remaining
    assert not workflow.jobs()
    for path in sorted((finished.folder / "results/models/tiny/evaluations").glob("*.jsonl")):
        again = evaluations / path.name
        assert again.read_bytes() == path.read_bytes()
