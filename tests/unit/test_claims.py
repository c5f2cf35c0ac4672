"""Every claim's verdict on made results that satisfy it, violate it, or leave it open."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lowrank.claims.evidence import Estimate, Evidence, NotTestable, Study, load_evidence
from lowrank.claims.ledger import as_rows, as_text, judge_claims
from lowrank.claims.operators import OPERATORS
from lowrank.claims.verdicts import (
    CONTRADICTED,
    NOT_TESTABLE,
    SUPPORTED,
    UNDECIDED,
    combine,
    judge,
    run_test,
)
from lowrank.errors import LowrankError
from lowrank.files import read_json, read_yaml, write_json
from lowrank.project import Project
from scipy.stats import norm

ROOT = Path(__file__).parents[2]
CONFIG = read_yaml(ROOT / "config" / "config.yaml")
PROJECT = Project(CONFIG | {"models": ["llama-2-7b", "bert-base-squad"]}, ROOT / "config")
CLAIMS = PROJECT.claims()
TESTS = [
    pytest.param(test, len(claim["tests"]), id=f"{name}-{index}")
    for name, claim in CLAIMS.items()
    for index, test in enumerate(claim["tests"])
]
QUESTIONS = 400
NOISE = {SUPPORTED: 0.0001, CONTRADICTED: 0.0001, UNDECIDED: 0.5}


def target(test, way):
    """A value of the statistic that makes the verdict: inside, outside, or at the edge."""
    low, high = test["range"]
    scale = {"trend": 1.0, "change_of_trend": 0.1}.get(test["operator"], 4.0)
    inside = (
        (low + high) / 2
        if None not in (low, high)
        else (low or high or 0) + (scale if high is None else -scale)
    )
    if way == SUPPORTED:
        return inside
    if way == CONTRADICTED:
        return high + scale if high is not None else low - scale
    return low if low is not None else high


def chosen(rows, selector):
    """Which rows a selector names: written again, for small tables of dictionaries."""
    kept = [row for row in rows if row["series"] == selector.get("series", "")]
    kept = [row for row in kept if row["label"] in selector.get("labels", [row["label"]])]
    kept = kept[-selector.get("last", len(kept)) :]
    out = [row["label"] for part in selector.get("except", []) for row in chosen(rows, part)]
    return [row for row in kept if row["label"] not in out]


def effects(test, rows, value):
    """Percentage points to add to (configuration, benchmark) so that the statistic is `value`."""
    arguments, operator = test["arguments"], test["operator"]
    every = {(row["decomposition"], b): 0.0 for row in rows for b in benchmarks_of(test)}

    def add(selected, amount, benchmarks=None):
        for row in selected:
            for benchmark in benchmarks or benchmarks_of(test):
                every[row["decomposition"], benchmark] += amount(row)

    if operator == "loss":
        add(chosen(rows, arguments["configurations"]), lambda row: -value)
    elif operator == "contrast":
        add(chosen(rows, arguments["first"]), lambda row: value)
    elif operator == "trend":
        against = arguments["against"]
        add(chosen(rows, arguments["configurations"]), lambda row: value * row[against])
    elif operator == "change_of_trend":
        knee = chosen(rows, arguments["after"])[0][arguments["against"]]
        add(
            rows,
            lambda row: (
                -0.3 * row[arguments["against"]]
                + value * max(0.0, row[arguments["against"]] - knee)
            ),
        )
    elif operator == "benchmark_contrast":
        selected = chosen(rows, arguments["configurations"])
        add(selected, lambda row: -value, arguments["first"])
    return every


def benchmarks_of(test):
    arguments = test["arguments"]
    if test["operator"] == "benchmark_contrast":
        return [*arguments["first"], *arguments["second"]]
    return arguments.get("benchmarks") or ["arc_easy", "mmlu"]


def made_study(test, value, noise, folder):
    """Results of a study of the real list of configurations, with a set statistic."""
    name = test["arguments"]["study"]
    model = PROJECT.judged_models()[test["kind"]]
    rows = [
        {
            "series": row.series,
            "label": row.label,
            "position": row.position,
            # Named by place, since two series may hold one configuration.
            "decomposition": f"configuration {index}",
            "parameter_reduction_percent": row.decomposition.parameter_reduction(
                model.architecture
            ),
        }
        for index, row in enumerate(PROJECT.configurations(name, model))
    ]
    added = effects(test, rows, value)
    dense = {"series": "", "label": "dense", "position": None, "decomposition": "dense"}
    rows = [dense | {"parameter_reduction_percent": 0.0}, *rows]
    rng = np.random.default_rng(0)
    table = []
    for row in rows:
        for benchmark in benchmarks_of(test):
            table.append(row | {"benchmark": benchmark, "questions": QUESTIONS})
            points = added.get((row["decomposition"], benchmark), 0.0)
            # Antithetic noise: the mean is exact whatever its spread.
            half = rng.normal(0, noise, QUESTIONS // 2)
            scores = 0.5 + points / 100 + np.concatenate([half, -half])
            path = folder / "evaluations" / row["decomposition"] / f"{benchmark}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            pd.DataFrame({"task": benchmark, "question": range(QUESTIONS), "value": scores}).to_csv(
                path, index=False
            )
    pd.DataFrame(table).to_csv(folder / f"{name}.csv", index=False)
    return Evidence({name: Study(folder / f"{name}.csv", folder / "evaluations")})


def made_profiles(test, value, noise, folder):
    rng = np.random.default_rng(0)
    metric, operator = test["arguments"]["metric"], test["operator"]
    rows = []
    for name, x in [("dense", 0), *((f"c{x}", x) for x in (6, 9, 15, 21, 33, 48, 60, 75, 84, 96))]:
        for index, workload in enumerate("abc"):
            if operator == "spread_over_benchmarks":
                # Ratios (1 - s, 1, 1 + s) have the relative standard deviation s.
                own = value * (1 + (2 * noise if x % 2 else -2 * noise)) / 100
                ratio = (1 - 0.5 * x / 100) * (1 + own * (index - 1))
            else:
                ratio = (1 - value * x / 100) * (1 + rng.normal(0, noise / 2))
            rows.append(
                {
                    "decomposition": name,
                    "parameter_reduction_percent": x,
                    "metric": metric,
                    "workload": workload,
                    "ratio": ratio,
                    "doubts": "",
                }
            )
    pd.DataFrame(rows).to_csv(folder / "profiles.csv", index=False)
    return Evidence({}, folder / "profiles.csv")


def made_design_space(test, value, folder):
    row = {"model": test["arguments"]["model"], "scale_exponent": 37 + value}
    pd.DataFrame([row | {"thesis_scale_exponent": 37}]).to_csv(folder / "table.csv", index=False)
    return Evidence(design_space=folder / "table.csv")


def made_evidence(test, way, folder):
    value, noise = target(test, way), NOISE[way]
    if test["operator"] == "design_space_exponent":
        return made_design_space(test, value if way == SUPPORTED else 2, folder)
    if "metric" in test["arguments"]:
        if test["operator"] == "spread_over_benchmarks" and way == SUPPORTED:
            value = 1.0
        return made_profiles(test, value, noise, folder)
    return made_study(test, value, noise, folder)


@pytest.mark.parametrize("way", [SUPPORTED, CONTRADICTED, UNDECIDED])
@pytest.mark.parametrize(("test", "tests"), TESTS)
def test_every_test_of_every_claim_can_go_each_way(test, tests, way, tmp_path):
    if way == UNDECIDED and test["operator"] == "design_space_exponent":
        way = CONTRADICTED  # what is counted is never undecided
    result = run_test(test, made_evidence(test, way, tmp_path), tests)
    assert result["verdict"] == way, result
    low, high = result["interval_95"]
    assert low <= result["value"] <= high
    if way != UNDECIDED and "study" in test["arguments"]:
        assert result["value"] == pytest.approx(target(test, way), abs=1e-6)


def test_every_claim_of_the_thesis_is_there_and_says_how_it_is_judged():
    assert list(CLAIMS) == [f"C{number}" for number in range(1, 15)]
    for claim in CLAIMS.values():
        assert bool(claim["tests"]) != bool(claim["untested"])
        for test in claim["tests"]:
            assert test["operator"] in OPERATORS


def normal(value, error):
    """An estimate with a normal interval."""
    return Estimate(
        value,
        lambda c: (value - norm.ppf((1 + c) / 2) * error, value + norm.ppf((1 + c) / 2) * error),
    )


@pytest.mark.parametrize(
    ("value", "tests", "verdict"),
    [
        (5.0, 1, SUPPORTED),
        (0.0, 1, UNDECIDED),
        (-1.5, 1, UNDECIDED),
        (-2.1, 1, CONTRADICTED),
        (-2.1, 5, UNDECIDED),  # one of five is this far out by chance too often
        (-3.0, 5, CONTRADICTED),
    ],
)
def test_verdicts_on_a_known_error(value, tests, verdict):
    assert judge(normal(value, 1.0), 0, None, tests) == verdict


def test_a_true_claim_at_the_edge_is_contradicted_no_more_often_than_promised():
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(2000):
        verdicts = [judge(normal(value, 1.0), 0, None, 4) for value in rng.normal(0, 1, 4)]
        wrong += combine(verdicts) == CONTRADICTED
    assert wrong / 2000 < 0.05


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [
        ([SUPPORTED, SUPPORTED], SUPPORTED),
        ([SUPPORTED, CONTRADICTED, NOT_TESTABLE], CONTRADICTED),
        ([SUPPORTED, UNDECIDED], UNDECIDED),
        ([SUPPORTED, NOT_TESTABLE], UNDECIDED),
        ([NOT_TESTABLE, NOT_TESTABLE], NOT_TESTABLE),
        ([], NOT_TESTABLE),
    ],
)
def test_a_claim_of_several_tests(verdicts, whole):
    assert combine(verdicts) == whole


def test_a_study_that_the_run_lacks_is_not_testable(tmp_path):
    test = CLAIMS["C7"]["tests"][0]
    result = run_test(test, Evidence(), 1)
    assert result["verdict"] == NOT_TESTABLE
    assert "table_4_2" in result["reason"]
    assert run_test(test, None, 1)["verdict"] == NOT_TESTABLE


def test_energy_that_was_not_measured_is_not_testable_with_the_machine_s_reason(tmp_path):
    rows = [
        {
            "decomposition": f"c{x}",
            "metric": "energy",
            "ratio": None,
            "doubts": "",
            "reason": "no RAPL",
        }
        for x in range(5)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(NotTestable, match="no RAPL"):
        OPERATORS["efficiency_slope"](Evidence({}, tmp_path / "p.csv"), "energy")


def test_an_unknown_operator_configuration_or_argument_is_one_line(tmp_path):
    test = CLAIMS["C7"]["tests"][0]
    with pytest.raises(LowrankError, match="unknown operator 'lose'"):
        run_test(test | {"operator": "lose"}, Evidence(), 1)
    evidence = made_evidence(test, SUPPORTED, tmp_path)
    with pytest.raises(LowrankError, match="loss: .*unexpected keyword"):
        run_test(test | {"arguments": {"studdy": "table_4_2"}}, evidence, 1)


def test_a_study_without_the_configuration_is_not_testable(tmp_path):
    test = CLAIMS["C7"]["tests"][0]
    evidence = made_evidence(test, SUPPORTED, tmp_path)
    other = {"study": "table_4_2", "configurations": {"labels": ["7%"]}}
    result = run_test(test | {"arguments": other}, evidence, 1)
    assert result["verdict"] == NOT_TESTABLE
    assert "no configuration '7%'" in result["reason"]


@pytest.fixture
def ledger(tmp_path):
    """The ledger of a run that has one study, judged by another model than the thesis's."""
    test = CLAIMS["C7"]["tests"][0]
    evidence = {"llama": made_evidence(test, SUPPORTED, tmp_path)}
    scopes = {"llama": {"model": "small", "label": "Small-1M", "device": "A CPU"}}
    judge_claims(CLAIMS, evidence, scopes, tmp_path / "claims.json")
    return read_json(tmp_path / "claims.json")


def test_a_verdict_says_which_model_and_device_it_holds_for(ledger):
    row = next(row for row in ledger["claims"] if row["id"] == "C7")
    assert row["verdict"] == SUPPORTED
    assert row["statement"] == "on Small-1M, A CPU: supported"
    assert row["tests"][0]["evidence"][0].endswith("table_4_2.csv")


def test_numbers_of_another_model_are_not_tested_on_this_one(ledger):
    row = next(row for row in ledger["claims"] if row["id"] == "C4")
    assert "llama-2-7b" in row["tests"][2]["reason"]
    assert row["tests"][2]["verdict"] == NOT_TESTABLE


def test_the_ledger_as_text_and_as_rows_names_every_claim(ledger):
    text = as_text(ledger)
    assert all(f" {name}  " in text for name in CLAIMS)
    assert "1 supported" in text
    rows = as_rows(ledger)
    assert len(rows) == sum(max(1, len(claim["tests"])) for claim in CLAIMS.values())


def test_flipping_one_result_flips_the_verdict(tmp_path):
    """Files in, verdict out: nothing between them remembers."""
    test = CLAIMS["C7"]["tests"][0]
    made_evidence(test, SUPPORTED, tmp_path)
    (tmp_path / "studies").mkdir()
    path = tmp_path / "studies" / "table_4_2.csv"
    (tmp_path / "table_4_2.csv").rename(path)
    write_json(
        tmp_path / "evaluations/dense/arc_easy.json", {"provenance": {"device_name": "A CPU"}}
    )
    models = {
        "llama": {
            "model": "m",
            "label": "M",
            "studies": {"table_4_2": str(path)},
            "profiles": [],
        }
    }

    def verdict():
        evidence, scopes = load_evidence(models, tmp_path / "none.csv")
        judge_claims({"C7": CLAIMS["C7"]}, evidence, scopes, tmp_path / "claims.json")
        (row,) = read_json(tmp_path / "claims.json")["claims"]
        return row["verdict"], row["scope"]

    assert verdict() == (SUPPORTED, "M, A CPU")
    table = pd.read_csv(path)
    name = table.loc[table["label"] == "9%", "decomposition"].iloc[0]
    for benchmark in benchmarks_of(test):
        scores = tmp_path / "evaluations" / name / f"{benchmark}.csv"
        values = pd.read_csv(scores)
        values["value"] += 0.3
        values.to_csv(scores, index=False)
    assert verdict()[0] == CONTRADICTED


def test_a_claims_file_with_a_wrong_key_names_it(tmp_path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    path = tmp_path / "config" / "claims.yaml"
    path.write_text(path.read_text().replace("  figures: [table_3_1]", "  figure: [table_3_1]", 1))
    with pytest.raises(LowrankError, match=r"claims\.yaml: C1.*figure"):
        Project(CONFIG, tmp_path / "config").claims()
