"""Scopes from tables on disk: the figures that the authors published, and measurements alone."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lowrank.analyse.authors import authors_tables
from lowrank.base.files import merge, read_json, read_yaml
from lowrank.base.thesis import read_thesis
from lowrank.claims.kept import load_kept
from lowrank.claims.ledger import judge_claims
from lowrank.claims.rendering import as_details, at_a_glance
from lowrank.claims.scopes import load_scope
from lowrank.project.configuration import Project
from lowrank.project.views.authors import authors_benchmarks, authors_labels, authors_model
from lowrank.project.views.claims import claim_scopes

DATA, DEVICE = "paper/authors", "4 × NVIDIA A100 80GB"
NINE = "tucker-r1-l3.18.32-all"


@pytest.fixture(scope="module")
def project():
    settings = merge([read_yaml(f"config/{name}.yaml") for name in ("config", "laptop")])
    return Project(settings, "config")


def scope_entries(project, folder, tables):
    """The scopes that the rules give, with tables in a folder and published figures in another."""
    outputs = {
        "collect_accuracy": "{model}/{study}.csv",
        "collect_profiles.table": str(tables / "{model}.{study}.profiles.csv"),
        "table_3_1.csv": str(tables / "table_3_1.csv"),
        "authors_tables.scores": str(tables / "table_4_2.csv"),
        "authors_tables.table": str(tables / "table_4_2.profiles.csv"),
    }
    references = {"reference-gpu": Path("references/nvidia-h100-80gb-hbm3/llama-2-7b-random")}
    entries = claim_scopes(project, outputs.__getitem__, str(folder), references, {})
    return {entry["name"]: entry for entry in entries}


def tables_of(project, folder, tables):
    """Write what the scope of the authors' data is judged on."""
    authors_tables(
        folder,
        authors_model(project, folder).architecture.config,
        authors_labels(project, folder),
        authors_benchmarks(project),
        read_thesis("paper/thesis.yaml", "efficiency_slopes"),
        tables / "table_4_2.csv",
        tables / "table_4_2.profiles.csv",
        tables / "fits.json",
    )
    sizes = {"model": ["bert-base-uncased", "bert-large-uncased", "llama-2-7b", "llama-2-70b"]}
    sizes |= {"scale_exponent": [18, 30, 39, 87], "thesis_scale_exponent": [18, 30, 37, 85]}
    pd.DataFrame(sizes).to_csv(tables / "table_3_1.csv", index=False)


def judged(project, folder, tables):
    """The ledger of the authors' data, and of a run that nobody made."""
    tables_of(project, folder, tables)
    entries = scope_entries(project, folder, tables)
    scopes = [load_scope(**entries["authors"]), load_kept(**entries["kept-paper"])]
    judge_claims(project.registry.claims(), scopes, {}, tables / "claims.json")
    return read_json(tables / "claims.json")


@pytest.fixture(scope="module")
def ledger(project, tmp_path_factory):
    return judged(project, DATA, tmp_path_factory.mktemp("authors"))


def every_test(ledger):
    """Every test of the authors' data that was measured, with its claim."""
    for row in ledger["claims"]:
        for test in row["scopes"]["authors"]["tests"]:
            if test["measured"]:
                yield row["id"], test


def test_the_authors_data_is_of_their_model_on_their_device(ledger):
    assert ledger["scopes"][0]["holds_for"] == f"Llama-2-7B-chat on {DEVICE}"
    places = {test["holds_for"] for claim, test in every_test(ledger) if claim != "C1"}
    assert places == {f"Llama-2-7B-chat, {DEVICE}"}
    assert all(test["is_named"] for _, test in every_test(ledger))


def test_every_loss_names_who_scored_the_dense_model_and_every_cost_says_one_run(ledger):
    sources = read_yaml(f"{DATA}/sources.yaml")["dense"]
    dense = pd.read_csv(f"{DATA}/dense.csv").drop_duplicates("benchmark").set_index("benchmark")
    losses, costs = [], []
    for claim, test in every_test(ledger):
        flags = " ".join(test["flags"])
        if test["operator"] == "loss":
            losses.append(test)
            assert "the dense model was scored by others: " in flags
        elif claim in ("C8", "C9"):
            costs.append(test)
            assert "one run each" in flags and "scored by others" not in flags
    assert losses and costs
    flags = [flag for test in losses for flag in test["flags"]]
    assert any(sources[dense.loc["truthfulqa", "source"]]["repository"] in flag for flag in flags)
    beside = [t for _, t in every_test(ledger) if t["says"].startswith("96% less 6%")]
    assert beside and not any("scored by others" in " ".join(t["flags"]) for t in beside)


def test_the_readme_has_the_verdicts_of_the_authors_data(ledger):
    rows = Path("README.md").read_text(encoding="utf-8")
    said = {}
    for verdict, claims in re.findall(
        r"^\| ([a-z ]+) \| (C\d+ [^|]+) \| .*\|$", rows, re.MULTILINE
    ):
        for first, last in re.findall(r"\bC(\d+)(?: to C(\d+))?", claims):
            numbers = range(int(first), int(last or first) + 1)
            said |= {f"C{number}": verdict for number in numbers}
    assert said == {row["id"]: row["scopes"]["authors"]["verdict"] for row in ledger["claims"]}


def slope(folder, quantity):
    """The mean over benchmarks of the slopes of a cost, from the published figures alone."""
    costs = pd.read_csv(f"{folder}/efficiency.csv")
    removed = pd.read_csv(f"{folder}/configurations.csv").set_index("configuration")["value"]
    costs = costs[costs["quantity"] == quantity]
    slopes = []
    for _, part in costs.groupby("benchmark"):
        value = part.set_index("configuration")["value"]
        fall = 100 * (1 - value / value["dense"])
        slopes.append(np.polyfit(removed[fall.index], fall, 1)[0])
    return float(np.mean(slopes))


def energy(ledger):
    return next(test for _, test in every_test(ledger) if test["says"] == "energy slope")


def test_an_edited_figure_changes_the_verdict_and_the_text(project, ledger, tmp_path):
    assert energy(ledger)["value"] == pytest.approx(slope(DATA, "energy"), abs=1e-9)
    assert energy(ledger)["verdict"] == "contradicted"
    folder = shutil.copytree(DATA, tmp_path / "data")
    costs = pd.read_csv(folder / "efficiency.csv")
    is_energy = (costs["quantity"] == "energy") & (costs["configuration"] != "dense")
    dense = costs[costs["configuration"] == "dense"].set_index(["benchmark", "quantity"])["value"]
    theirs = costs.loc[is_energy, "benchmark"].map(lambda name: dense[name, "energy"])
    saved = 1 - costs.loc[is_energy, "value"] / theirs
    costs.loc[is_energy, "value"] = theirs * (1 - saved * 0.5 / 0.649)
    costs.to_csv(folder / "efficiency.csv", index=False)
    changed = judged(project, folder, tmp_path)
    assert energy(changed)["value"] == pytest.approx(slope(folder, "energy"), abs=1e-9)
    assert energy(changed)["verdict"] == "supported"
    texts = [as_details(each) for each in (ledger, changed)]
    assert energy(ledger)["measured"] in texts[0][0]
    assert energy(ledger)["measured"] not in texts[1][0]
    assert energy(changed)["measured"] in texts[1][0]


def test_where_no_run_is_the_number_of_the_authors_stands_on_the_line(ledger):
    _, lines = as_details(ledger)
    shown = at_a_glance(ledger, "claims_details.txt", lines).splitlines()
    (power,) = (line for line in shown if line.startswith("C9 "))
    assert "  authors: " in power and "not run yet" in power


@pytest.mark.parametrize("device", ["NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB"])
def test_measurements_of_random_weights_show_costs_on_any_device_and_decide_nothing(
    device, project, tmp_path
):
    tables_of(project, DATA, tmp_path)
    entry = scope_entries(project, DATA, tmp_path)["reference-gpu"]
    (path,) = entry["models"]["llama"]["profiles"]
    costs = pd.read_csv(tmp_path / "table_4_2.profiles.csv")
    costs.assign(device=device, model="llama-2-7b-random").to_csv(path)
    judge_claims(project.registry.claims(), [load_scope(**entry)], {}, tmp_path / "own.json")
    made = read_json(tmp_path / "own.json")
    label = project.model("llama-2-7b-random").label
    assert made["scopes"][0]["holds_for"] == f"{label} on {device}"
    own = {row["id"]: row["scopes"]["reference-gpu"] for row in made["claims"]}
    assert own["C7"]["verdict"] == "not testable here"
    assert own["C8"]["verdict"] == "not seen here" and not own["C8"]["is_named"]
    decided = ("supported", "trivially supported", "contradicted")
    assert [name for name, judged in own.items() if judged["verdict"] in decided] == ["C1"]
