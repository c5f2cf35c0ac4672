"""The report: its facts against tables computed by hand, and its bytes."""

import re
from pathlib import Path

import pandas as pd
import pytest
from lowrank.errors import LowrankError
from lowrank.files import read_json, write_json
from lowrank.paper.document import build_document
from lowrank.paper.facts import gather_facts

ROW = {
    "model": "m",
    "series": None,
    "benchmark_label": "mean",
    "metric": "acc",
    "questions": 10,
    "questions_available": 20,
}


def row(label, method, score, difference, benchmark="aggregate", **fields):
    return {
        **ROW,
        "label": label,
        "method": method,
        "decomposition": "dense" if method == "dense" else f"{method}-{label}",
        "benchmark": benchmark,
        "parameter_reduction_percent": 5.0,
        "score": score,
        "score_low": score - 0.1,
        "score_high": score + 0.1,
        "score_difference": difference,
        "score_difference_low": difference - 0.1,
        "score_difference_high": difference + 0.1,
        **fields,
    }


@pytest.fixture
def facts(tmp_path):
    table = tmp_path / "m" / "studies" / "table_4_2.csv"
    table.parent.mkdir(parents=True)
    rows = [
        row("dense", "dense", 0.5, 0.0),
        row("dense", "dense", 0.5, 0.0, "arc_easy", benchmark_label="ARC-Easy"),
        row("6%", "tucker", 0.45, -0.05),
        row("9%", "tucker", 0.2, -0.3),
        row(
            "9%",
            "drop",
            0.4,
            -0.1,
            score_over_decomposed=0.2,
            score_over_decomposed_low=0.1,
            score_over_decomposed_high=0.3,
        ),
        row(
            "6%",
            "drop",
            0.4,
            -0.1,
            score_over_decomposed=-0.05,
            score_over_decomposed_low=-0.2,
            score_over_decomposed_high=0.1,
        ),
    ]
    pd.DataFrame(rows).to_csv(table, index=False)
    provenance = {"device_name": "A CPU", "versions": {"python": "3"}, "code_sha256": "a" * 64}
    settings = {"dtype": "float32", "seed": 0, "sampling": "first"}
    write_json(
        tmp_path / "m" / "evaluations" / "dense" / "arc_easy.json",
        {"provenance": provenance, "settings": settings},
    )
    write_json(tmp_path / "m" / "manifest.json", {"source": "random:seed=0"})
    spaces = tmp_path / "spaces.csv"
    pd.DataFrame(
        [
            {
                "model": "a",
                "tensors": 7,
                "thesis_tensors": 5,
                "scale_exponent": 39,
                "thesis_scale_exponent": 37,
            }
        ]
    ).to_csv(spaces, index=False)
    sizes = tmp_path / "sizes.csv"
    pd.DataFrame([{"model": "b", "macs": 4.1e9, "thesis_macs": 8.2e9}]).to_csv(sizes, index=False)
    study = {"study": "table_4_2", "title": "A study", "figure": "figure_4_1", "look_for": ""}
    entry = {
        "model": "m",
        "label": "Model M",
        "parameters": 1000,
        "layers": 4,
        "manifest": str(tmp_path / "m" / "manifest.json"),
        "studies": [study | {"table": str(table)}],
        "fits": None,
    }
    output = tmp_path / "facts.json"
    gather_facts([entry], {"table_3_1": spaces, "table_1_1": sizes}, output)
    return output


def test_facts_are_the_tables_own(facts):
    (model,) = read_json(facts)["models"]
    (study,) = model["studies"]
    assert study["configurations"] == 2
    assert study["worse_beyond_chance"] == 1
    assert study["worst"][0]["label"] == "9%"
    assert study["worst"][0]["score_difference"] == -0.3
    assert study["control"] == {
        "configurations": 2,
        "score": {"better": 1, "worse": 0, "undecided": 1},
    }
    assert [entry["benchmark_label"] for entry in model["benchmarks"]] == ["ARC-Easy"]
    assert study["file"].endswith("table_4_2.csv")


@pytest.fixture
def inputs(facts, tmp_path):
    test = {
        "says": "a loss",
        "unit": "points",
        "range": [4, 10],
        "verdict": "undecided",
        "reason": "",
        "value": 9.8765,
        "interval_95": [2.0, 17.6],
        "scope": "Model M, A CPU",
    }
    claim = {
        "id": "C7",
        "claim": "It costs accuracy.",
        "source": "Section 4",
        "named": {"model": "Llama"},
        "allowed": "any",
        "verdict": "undecided",
        "reason": "",
        "scope": "Model M, A CPU",
        "tests": [test],
    }
    ledger = {"claims": [claim], "counts": {"supported": 0, "undecided": 1}}
    write_json(tmp_path / "claims.json", ledger)
    return {
        "facts.json": facts,
        "claims.json": tmp_path / "claims.json",
        "thesis.yaml": "paper/thesis.yaml",
    }


def test_the_report_is_the_same_bytes_twice(inputs, tmp_path):
    for name in ("one.pdf", "two.pdf"):
        build_document("paper/report.typ", inputs, tmp_path / name)
    first = (tmp_path / "one.pdf").read_bytes()
    assert first.startswith(b"%PDF")
    assert first == (tmp_path / "two.pdf").read_bytes()


def test_a_changed_result_changes_the_report(inputs, tmp_path):
    build_document("paper/report.typ", inputs, tmp_path / "one.pdf")
    ledger = read_json(inputs["claims.json"])
    ledger["claims"][0]["tests"][0]["value"] = 3.21
    write_json(inputs["claims.json"], ledger)
    build_document("paper/report.typ", inputs, tmp_path / "two.pdf")
    assert (tmp_path / "one.pdf").read_bytes() != (tmp_path / "two.pdf").read_bytes()


def test_a_template_that_does_not_compile_is_one_error(tmp_path):
    (tmp_path / "bad.typ").write_text("#nonsense")
    with pytest.raises(LowrankError, match=r"bad\.typ does not compile.*nonsense"):
        build_document(tmp_path / "bad.typ", {}, tmp_path / "out.pdf")
    assert not (tmp_path / "out.pdf").exists()


def test_the_template_types_no_result(tmp_path):
    """Decimal numbers in the text would be results that no file backs; the thesis's id is none."""
    lines = Path("paper/report.typ").read_text().split("#align(center)")[1].splitlines()
    code = re.compile(
        r"size: [\d.]+pt|[\d.]+(pt|em|cm|%\))|1e9|> 0\.1|2405\.06626|Table \d\.\d|\d\.\d and \d\.\d"
    )
    left = [line for line in lines if re.search(r"\d+\.\d+", code.sub("", line))]
    assert left == []
