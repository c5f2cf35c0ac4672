"""From claims and results to the ledger."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from lowrank.base.errors import LowrankError
from lowrank.base.evaluations import read_scores
from lowrank.base.files import read_json
from lowrank.claims.evidence import Evidence
from lowrank.claims.ledger import judge_claims
from lowrank.claims.scopes import Scope, load_scope
from lowrank.claims.verdict_names import (
    CONTRADICTED,
    NOT_TESTABLE,
    SEEN,
    SUPPORTED,
    UNDECIDED,
)
from lowrank.project.registry import Registry
from made_evaluations import write_result, write_scores
from made_worlds import (
    A100,
    CLAIMS,
    FIVE,
    NONE,
    ROOT,
    judgement,
    judgement_on,
    made_answers,
    made_evidence,
    made_rows,
    small_profiles,
    subjects_of,
)

SIX = [*FIVE, "truthfulqa"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  figures: [table_3_1]", "  figure: [table_3_1]", "C1.figure: unknown key"),
        (
            'second: {except: [{labels: ["1", "2"]}, {last: 1}]}',
            'second: {exept: [{labels: ["1", "2"]}, {last: 1}]}',
            "second.exept: unknown",
        ),
        (
            '- {series: "{layers}", labels: [K]}',
            '- {series: "{layers}", label: [K]}',
            "others.1.label",
        ),
        ("  scales: [laptop, paper]\n", "", "C1: 'scales' is a required property"),
        ("scales: [laptop, paper]", "scales: [desktop]", "C1.scales.0: 'desktop'"),
        ("range: [0, 0]", "range: [null, null]", "C1.tests.0.range"),
        ("study: figure_3_2", "studdy: figure_3_2", "arguments.studdy: unknown key"),
        (
            "operator: loss\n",
            "operator: los\n",
            "C10.tests.1.operator: 'los' is not one of ['loss'",
        ),
        ("{metric: power}", "{metric: power, model: x}", "'model' is not one of ['metric', 'work"),
        ("{metric: power}", "{workloads: all}", "arguments: 'metric' is a required property"),
        (
            "[[Q, K, V, SO], [G, U, D]]",
            "[[Q, K, V, SO], G]",
            "for.tensor.1: 'G' is not a list: write [G]",
        ),
        (
            "benchmark: *five}",
            "benchmark: [arc_chalenge]}",
            "C6.tests.0.for: config: benchmarks: ",
        ),
    ],
)
def test_a_claims_file_with_a_wrong_key_or_value_names_it(old, new, message, tmp_path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    path = tmp_path / "config" / "claims.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(LowrankError, match=r"claims\.yaml: C\d+") as error:
        Registry(tmp_path / "config").claims()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


# --- from files to the ledger -------------------------------------------------------------------


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_is_not_testable_on_a_run_without_its_results(name, tmp_path):
    row = judgement_on(name, dict.fromkeys(("none", "llama", "bert"), Evidence()), tmp_path)
    assert row["verdict"] == NOT_TESTABLE
    assert row["statement"] == f"not testable here ({row['reason']})"
    if CLAIMS[name]["untested"]:
        (study,) = row["studies"]
        expected = f"the study {study} is not part of these results: {CLAIMS[name]['untested']}"
        assert expected in row["reason"]
        assert {tuple(test["scales"]) for test in row["tests"]} == {()}
        assert row["deciding"]["note"] == CLAIMS[name]["untested"]


def test_a_verdict_rests_on_the_files_it_lists(tmp_path):
    row = judgement_on("C11", made_answers(CLAIMS["C11"], tmp_path), tmp_path)
    names = {
        r["label"]: r["decomposition"] for r in made_rows("table_4_2", "llama") if not r["series"]
    }
    expected = [tmp_path / "studies/table_4_2.csv"]
    expected += [tmp_path / "evaluations" / f"{names[label]}.csv" for label in ("dense", "9%")]
    test = row["tests"][1]
    assert test["evidence"] == [str(path) for path in expected]
    assert test["configurations"] == [names["dense"], names["9%"]]
    assert test["benchmarks"] == ["winogrande", "arc_easy", "arc_challenge", "hellaswag", "mmlu"]
    assert (test["questions"], test["available"]) == (150, 150)
    assert len(row["tests"][0]["evidence"]) == 1 + 11
    for test in row["tests"]:
        for path in test["evidence"]:
            assert Path(path).is_file()


def evaluated_on(device, folder):
    provenance = {"device_name": device}
    write_result(folder / "evaluations", "dense", "mmlu", {}, provenance=provenance)


def run_files(tmp_path):
    """The files of C7's study, and the description of the model they are of."""
    made_answers(CLAIMS["C7"], tmp_path)
    evaluated_on("A CPU", tmp_path)
    entry = {
        "model": "llama-2-7b",
        "label": "M",
        "device_type": "cpu",
        "benchmarks": SIX,
        "studies": {"table_4_2": str(tmp_path / "studies/table_4_2.csv")},
        "profiles": [],
    }
    return tmp_path, {"llama": entry}


def test_flipping_one_result_flips_the_verdict(tmp_path):
    """Files in, verdict out: nothing between them remembers."""
    folder, models = run_files(tmp_path)

    def row():
        scope = load_scope("run", "This run", models, tmp_path / "none.csv")
        assert scope.holds_for == "M on A CPU"
        return judgement("C7", scope, tmp_path)

    assert (row()["verdict"], row()["holds_for"]) == (SUPPORTED, "M, A CPU")
    path = folder / "studies/table_4_2.csv"
    table = pd.read_csv(path)
    is_mmlu = (table["label"] == "9%") & table["series"].isna() & (table["benchmark"] == "mmlu")
    name = table.loc[is_mmlu, "decomposition"].item()
    values = read_scores(folder / "evaluations", name, "mmlu").reset_index()
    values["value"] += 0.3
    write_scores(folder / "evaluations", name, "mmlu", values)
    with pytest.raises(
        LowrankError, match=r"table_4_2\.csv: 9% scores 0\.79[56]\d* on mmlu.* 1\.09[56]"
    ):
        row()
    table.loc[is_mmlu, "score"] += 0.3
    table.to_csv(path, index=False)
    assert row()["verdict"] == CONTRADICTED


def test_a_changed_score_of_the_table_is_caught(tmp_path):
    folder, models = run_files(tmp_path)
    path = folder / "studies/table_4_2.csv"
    table = pd.read_csv(path)
    for place in (0, 40, len(table) - 1):
        table.assign(score=table["score"] + 1e-4 * (table.index == place)).to_csv(path, index=False)
        with pytest.raises(LowrankError, match=r"table_4_2\.csv: .* scores .* delete the table"):
            load_scope("run", "This run", models, tmp_path / "none.csv")
    table.to_csv(path, index=False)
    load_scope("run", "This run", models, tmp_path / "none.csv")
    path.write_text("not,a,table\n")
    with pytest.raises(LowrankError, match=r"table_4_2\.csv cannot be read"):
        load_scope("run", "This run", models, tmp_path / "none.csv")


def test_the_device_is_that_of_the_dense_model_s_evaluation(tmp_path):
    folder, models = run_files(tmp_path)

    def device():
        made = load_scope("run", "This run", models, tmp_path / "none.csv")
        return made.subjects["llama"]["device"]

    assert device() == "A CPU"
    evaluated_on("Another GPU", folder)
    assert device() == "Another GPU"


def test_costs_hold_for_the_device_they_were_measured_on(tmp_path):
    """They decide by their own device, whatever device the evaluations ran on."""
    ratios = {"a": [1, 0.95, 0.9, 0.85]}
    evidence = {"llama": small_profiles(tmp_path, ratios, [0, 10, 20, 30])}
    row = judgement_on("C8", evidence, tmp_path)
    first = row["tests"][0]
    assert (first["holds_for"], first["studies"]) == ("Llama-2-7B, Profiled CPU", ["p"])
    assert not first["is_named"]
    for device, verdict in ((A100, SUPPORTED), ("NVIDIA H100", SEEN)):
        changes = {"device": device, "gpus": 1, "batch_rule": "largest"}
        evidence = {"llama": small_profiles(tmp_path, ratios, [0, 10, 20, 30], **changes)}
        row = judgement_on("C8", evidence, tmp_path, subjects_of("C8", device="Another one"))
        assert row["tests"][0]["verdict"] == verdict
        assert row["tests"][0]["holds_for"] == f"Llama-2-7B, {device}"


@pytest.mark.parametrize(
    ("device", "is_named"),
    [
        ("NVIDIA A100-SXM4-80GB", True),
        ("NVIDIA A100 80GB PCIe", True),
        ("4 × NVIDIA A100 80GB", True),
        ("NVIDIA A100-SXM4-80GB and NVIDIA A100 80GB PCIe", True),
        ("NVIDIA RTX A1000", False),
        ("NVIDIA A100X", False),
        ("NVIDIA A100-SXM4-80GB and NVIDIA H100 80GB HBM3", False),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", False),
        ("GRID A100-10C", False),
    ],
)
def test_a_claim_speaks_of_whole_devices_by_their_names(device, is_named, tmp_path):
    ratios = {"a": [1, 0.95, 0.9, 0.85]}
    changes = {"device": device, "gpus": 1, "batch_rule": "largest"}
    evidence = {"llama": small_profiles(tmp_path, ratios, [0, 10, 20, 30], **changes)}
    test = judgement_on("C8", evidence, tmp_path, subjects_of("C8", device=device))["tests"][0]
    assert test["is_named"] == is_named
    assert test["verdict"] == (SUPPORTED if is_named else SEEN)


def test_a_cpu_shows_its_costs_and_judges_nothing(tmp_path):
    evidence = made_evidence(CLAIMS["C8"], tmp_path, device="A CPU", gpus=0, latency=0.98)
    subjects = subjects_of("C8", device="A CPU", device_type="cpu")
    row = judgement_on("C8", evidence, tmp_path, subjects)
    assert (row["verdict"], row["verdict_like_these"]) == (NOT_TESTABLE, NOT_TESTABLE)
    latency = row["tests"][0]
    assert latency["value"] == pytest.approx(0.98, abs=0.001)
    assert latency["measured"].startswith("0.98% per %")
    assert latency["reason"] == "the test speaks of cuda devices, which this is not"
    assert latency["scales"] == ["paper"]
    assert {test["verdict"] for test in row["tests"]} == {NOT_TESTABLE}


def test_numbers_of_another_model_are_not_judged_on_this_one(tmp_path):
    evidence = made_evidence(CLAIMS["C4"], tmp_path)
    row = judgement_on("C4", evidence, tmp_path, subjects_of("C4", model="small"))
    verdicts = [test["verdict"] for test in row["tests"]]
    assert verdicts == [SEEN, SEEN, *[NOT_TESTABLE] * 4]
    assert row["verdict"] == SEEN
    assert "speaks of llama-2-7b and" in row["tests"][2]["reason"]
    assert "2 of 6 tests could be judged" in row["reason"]


def test_only_tests_that_can_be_judged_share_the_level(tmp_path):
    """Bonferroni counts neither a test of another model nor one whose study is not there."""
    error = 100 * 0.005 * (1 + 1 / 3) ** 0.5 / 5**0.5  # one less the mean of three, five benchmarks
    wrong = 52 + 2.3 * error  # out at level 5%, not at that of one of six
    evidence = made_evidence(CLAIMS["C4"], tmp_path, few_21=wrong, noise=0.005)

    def verdict(evidence, models):
        claim = CLAIMS["C4"]
        tests = [
            test | {"models": models} if index != 1 else test
            for index, test in enumerate(claim["tests"])
        ]
        claims = {"C4": claim | {"tests": tests}}
        return judgement_on("C4", evidence, tmp_path, claims=claims)["tests"][1]["verdict"]

    assert verdict(evidence, []) == UNDECIDED
    assert verdict(evidence, ["another"]) == CONTRADICTED
    tests = CLAIMS["C4"]["tests"]
    claims = {"C4": CLAIMS["C4"] | {"tests": [tests[1], *tests[4:]]}}
    row = judgement_on("C4", {"llama": evidence["llama"]}, tmp_path, claims=claims)
    assert row["tests"][0]["verdict"] == CONTRADICTED
    assert row["verdict"] == UNDECIDED


def test_two_scopes_have_a_verdict_each(tmp_path):
    """One more scope is one more entry: nothing else of the ledger knows how many there are."""
    for name in ("right", "wrong"):
        (tmp_path / name).mkdir()
    right = made_evidence(CLAIMS["C2"], tmp_path / "right")
    wrong = made_evidence(CLAIMS["C2"], tmp_path / "wrong", rank_500=5.0)
    subjects = subjects_of("C2")
    other = {"llama": subjects["llama"] | {"device": "Another GPU"}}
    scopes = [
        Scope("run", "This run", right, subjects),
        Scope("other", "Another device", wrong, other),
    ]
    judge_claims({"C2": CLAIMS["C2"]}, scopes, {}, tmp_path / "claims.json")
    ledger = read_json(tmp_path / "claims.json")
    assert [scope["title"] for scope in ledger["scopes"]] == ["This run", "Another device"]
    assert ledger["scopes"][0]["holds_for"] == f"Llama-2-7B and BERT-Base on {A100}"
    assert ledger["scopes"][1]["counts"][CONTRADICTED] == 1
    judged = ledger["claims"][0]["scopes"]
    assert [judged[name]["verdict"] for name in ("run", "other")] == [SUPPORTED, CONTRADICTED]
    where = "on Llama-2-7B, Another GPU, on questions like these"
    assert judged["other"]["statement"].startswith(f"{where}: contradicted")


def test_the_ledger_says_what_it_holds_for_and_how_it_was_made(tmp_path):
    evidence = made_evidence(CLAIMS["C11"], tmp_path)
    small = {"model": "small", "label": "Small-1M", "device": "A CPU", "device_type": "cpu"}
    scope = Scope("run", "This run", {"llama": evidence["llama"]}, {"llama": small, "none": NONE})
    figures = {"figure_4_1": ["figures/small/figure_4_1.pdf"]}
    judge_claims(CLAIMS, [scope], figures, tmp_path / "claims.json")
    ledger = read_json(tmp_path / "claims.json")
    rows = {row["id"]: row for row in ledger["claims"]}
    row = rows["C11"]
    assert row["scales"] == ["laptop", "paper"]
    assert row["title"] == "WinoGrande loses least"
    assert row["figures"] == [{"name": "figure_4_1", "files": ["figures/small/figure_4_1.pdf"]}]
    assert rows["C2"]["figures"] == [{"name": "figure_3_2", "files": []}]
    own = row["scopes"]["run"]
    assert own["statement"].startswith("on Small-1M, A CPU, on questions like these: seen here")
    assert own["studies"] == ["table_4_2"]
    second = own["tests"][1]
    assert (second["expected"], second["range"]) == ("below 0 points", [None, 0])
    low, high = second["interval_95"]
    assert second["measured"] == f"−1.35 points [{low:.3g}, {high:.3g}]".replace("-", "−")
    of_c7 = rows["C7"]["scopes"]["run"]["tests"][0]
    assert (of_c7["expected"], of_c7["verdict"]) == ("above 3.5 points", NOT_TESTABLE)
    assert "not corrected across claims" in ledger["method"]
    assert "half-widths" in ledger["deciding"]
    assert sum(ledger["scopes"][0]["counts"].values()) == len(CLAIMS)
