"""The report: its facts against tables computed by hand, its text, and its bytes."""

import copy
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pypdf
import pytest
import typst
import yaml
from lowrank.base.errors import LowrankError
from lowrank.base.evaluations import benchmark_result
from lowrank.base.files import read_json, read_yaml, write_json
from lowrank.base.metric import Metric
from lowrank.paper.deviations import deviations
from lowrank.paper.document import build_document
from lowrank.paper.facts import gather_facts
from lowrank.paper.inconsistencies import inconsistencies
from made_evaluations import write_result, write_scores
from made_ledger import made_ledger
from statsmodels.stats.contingency_tables import mcnemar

TEMPLATE, THESIS, PUBLISHED = "paper/report.typ", "paper/thesis.yaml", "paper/authors"
VERDICTS = "paper/verdicts.typ"
QUESTIONS = 40
ACCURACY = Metric.from_config("acc", 0.25).as_record()
ANSWERS = {  # of the first question, of the first half, and so on
    "dense": [1.0] * 30 + [0.0] * 10,
    "tucker-6%": [1.0] * 28 + [0.0] * 12,
    "tucker-9%": [0.0] * 32 + [1.0] * 8,
    "drop-9%": [1.0] * 20 + [0.0] * 20,
    "drop-6%": [1.0] * 27 + [0.0] * 13,
}


def row(label, method, score, difference, benchmark="aggregate", **fields):
    return {
        "model": "m",
        "series": None,
        "benchmark_label": "mean",
        **ACCURACY,
        "questions": QUESTIONS,
        "questions_available": 50,
        "questions_paired": QUESTIONS,
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


def over_decomposed(value, reach):
    name = "score_over_decomposed"
    return {name: value, f"{name}_low": value - reach, f"{name}_high": value + reach}


@pytest.fixture
def entry(tmp_path):
    """A model's part of the facts' sources, with the files that it names."""
    table = tmp_path / "m" / "studies" / "table_4_2.csv"
    table.parent.mkdir(parents=True)
    rows = [
        row("dense", "dense", 0.75, 0.0),
        row("6%", "tucker", 0.7, -0.05),
        row("9%", "tucker", 0.2, -0.55),
        row("9%", "drop", 0.5, -0.25, **over_decomposed(0.2, 0.1)),
        row("6%", "drop", 0.675, -0.075, **over_decomposed(-0.05, 0.15)),
    ]
    rows += [own | {"benchmark": "arc_easy", "benchmark_label": "ARC-Easy"} for own in rows]
    pd.DataFrame(rows).to_csv(table, index=False)
    for name, values in ANSWERS.items():
        own = {"task": "t", "question": range(QUESTIONS), "value": values}
        write_scores(tmp_path / "m" / "evaluations", name, "arc_easy", own)
    settings = {"dtype": "float32", "seed": 0, "sampling": "first"}
    provenance = {
        "device_name": "A CPU",
        "platform": "Linux",
        "versions": {"python": "3"},
        "code_sha256": "a" * 64,
    }
    write_result(
        tmp_path / "m" / "evaluations",
        "dense",
        "arc_easy",
        {
            "settings": {"max_new_tokens": None},
            "questions": {"asked": QUESTIONS, "available": 50},
            "score": {"metric": "acc", "value": 0.75, "interval_95": [0.6, 0.86]},
        },
        provenance=provenance,
        settings=settings | {"scorer": "packed", "batch_size": 4},
    )
    manifest = {"source": "random:seed=0", "random_weights": True}
    write_json(tmp_path / "m" / "manifest.json", manifest)
    fit = {
        "metric": "latency",
        "workload": "prefill",
        "status": "measured",
        "reason": "",
        "slope": 0.512,
        "interval_95": [0.5, 0.52],
        "r2": 0.99,
        "thesis_slope": 0.5,
        "flags": ["busy machine"],
    }
    write_json(tmp_path / "fits.json", [fit, fit | {"metric": "energy", "status": "-"}])
    study = {
        "study": "table_4_2",
        "title": "A study",
        "source": "The thesis",
        "figure": "figure_4_1",
        "look_for": "",
        "depth": 32,
        "width": None,
        "carried_over": True,
        "table": str(table),
    }
    benchmark = {"benchmark": "arc_easy", "label": "ARC-Easy", "metric": ACCURACY, "differs": ""}
    return {
        "model": "m",
        "label": "Model M",
        "parameters": 1000,
        "layers": 4,
        "width": 8,
        "quantized": {},
        "manifest": str(tmp_path / "m" / "manifest.json"),
        "evaluations": str(tmp_path / "m" / "evaluations"),
        "benchmarks": [benchmark],
        "studies": [study],
        "fits": str(tmp_path / "fits.json"),
    }


RUN = {
    "unavailable": ["truthfulqa"],
    "thesis_benchmarks": [["arc_easy", "ARC-Easy"], ["truthfulqa", "TruthfulQA"]],
    "profile": {"dtype": "float32", "batch": 1, "largest_batch": 8, "trials": 6, "seconds": 0},
}


@pytest.fixture
def gather(entry, tmp_path):
    """A function from a model's entry to the path of the facts."""
    tables = {
        "table_3_1": {
            "model": ["llama-2-7b"],
            "tensors": [7],
            "thesis_tensors": [5],
            "largest_rank": [4096],
            "scale_exponent": [39],
            "thesis_scale_exponent": [37],
        },
        "table_1_1": {
            "model": ["resnet-50", "llama-2-7b"],
            "macs": [4.1e9, 850e9],
            "thesis_macs": [8.2e9, 850e9],
            "size_bytes_fp16": [51e6, 13.48e9],
        },
        "table_4_2": {
            "Label": ["6%", "9%", "96%"],
            "Decomposed layers": ["3, 30", "3, 18, 32", ", ".join(map(str, range(1, 33)))],
        },
    }
    for name, columns in tables.items():
        pd.DataFrame(columns).to_csv(tmp_path / f"{name}.csv", index=False)

    def made(own=entry):
        paths = {name: str(tmp_path / f"{name}.csv") for name in tables}
        gather_facts([own], paths, RUN, THESIS, PUBLISHED, tmp_path / "facts.json")
        return tmp_path / "facts.json"

    return made


def test_facts_are_the_tables_own(gather):
    facts = read_json(gather())
    (model,) = facts["models"]
    (study,) = model["studies"]
    (scores,) = study["scores"]
    assert scores["benchmark"] is None and scores["configurations"] == 2
    assert [own["label"] for own in scores["worst"]] == ["9%", "6%"]
    assert scores["worst"][0]["score_difference"] == -0.55
    assert scores["control"] == {
        "configurations": 2,
        "score": {"better": 1, "worse": 0, "undecided": 1},
    }
    assert [own["benchmark_label"] for own in model["benchmarks"]] == ["ARC-Easy"]
    assert study["file"].endswith("table_4_2.csv")
    # 0.2 less 0.1 lies below a chance of 0.25, 0.7 less 0.1 above.
    assert [own["at_chance"] for own in scores["rows"]] == [0, 1]
    assert model["benchmarks"][0]["at_chance"] is False
    assert facts["allowed_variation"]["slopes"]["memory"] == 0.01


def test_worse_beyond_chance_counts_adjusted_for_their_number(entry, gather, tmp_path):
    """Ten configurations lose four questions each: at 95% alone many are worse, adjusted none."""
    (study,) = entry["studies"]
    names = [f"{n}%" for n in range(10)]
    rows = [row("dense", "dense", 0.75, 0.0)]
    rows += [row(name, "tucker", 0.65, -0.1, score_difference_high=-0.01) for name in names]
    rows += [own | {"benchmark": "arc_easy"} for own in rows]
    pd.DataFrame(rows).to_csv(study["table"], index=False)
    for name in names:
        own = {"task": "t", "question": range(QUESTIONS), "value": [0.0] * 4 + ANSWERS["dense"][4:]}
        write_scores(tmp_path / "m" / "evaluations", f"tucker-{name}", "arc_easy", own)
    (study,) = read_json(gather(entry))["models"][0]["studies"]
    (scores,) = study["scores"]
    assert scores["worse_each"] == 10
    assert scores["worse_adjusted"] == 0
    # Ten times McNemar's test of 4 against 0: between his approximation and the exact test.
    approximate, exact = (
        10 * mcnemar([[26, 4], [0, 10]], exact=exact, correction=False).pvalue
        for exact in (False, True)
    )
    assert approximate < scores["rows"][0]["adjusted_p"] < exact


def test_where_lower_is_better_a_higher_score_is_a_loss(entry, gather, inputs, tmp_path):
    """Perplexities 12, 11, 15 and 20, and a guess's 18."""
    metric = Metric.from_config("word_perplexity", 18).as_record()
    (study,) = entry["studies"]
    other = Path(study["table"]).with_stem("other")
    other.write_bytes(Path(study["table"]).read_bytes())
    entry["studies"].append(study | {"study": "other", "table": str(other), "figure": None})
    rows = [
        row("dense", "dense", 12.0, 0.0),
        row("6%", "tucker", 11.0, -1.0),
        row("9%", "tucker", 15.0, 3.0),
        row("15%", "tucker", 20.0, 8.0),
        row("6%", "drop", 14.0, 2.0, **over_decomposed(3.0, 1.0)),
        row("9%", "drop", 13.0, 1.0, **over_decomposed(-2.0, 1.0)),
    ]
    rows = [own | metric for own in rows]
    rows += [own | {"benchmark": "wikitext", "benchmark_label": "WikiText"} for own in rows]
    pd.DataFrame(rows).to_csv(study["table"], index=False)
    noise = np.random.default_rng(0).normal(0, 0.01, QUESTIONS)
    for own in rows:
        frame = {"task": "t", "question": range(QUESTIONS), "weight": 7}
        frame["value"] = np.log(own["score"]) + noise * (own["method"] != "dense")
        write_scores(entry["evaluations"], own["decomposition"], "wikitext", frame)
    result = benchmark_result(entry["evaluations"], "dense", "arc_easy")
    result["score"] = {"metric": "word_perplexity", "value": 12.0, "interval_95": [11.0, 13.0]}
    write_result(entry["evaluations"], "dense", "wikitext", result)
    own = {"benchmark": "wikitext", "label": "WikiText", "metric": metric, "differs": ""}
    entry["benchmarks"].append(own)
    facts = gather(entry)
    study, _ = read_json(facts)["models"][0]["studies"]
    (scores,) = study["scores"]
    assert [own["label"] for own in scores["worst"]] == ["15%", "9%"]
    assert (scores["worse_each"], scores["worse_adjusted"]) == (2, 2)
    assert scores["control"]["score"] == {"better": 1, "worse": 1, "undecided": 0}
    assert [own["at_chance"] for own in scores["rows"]] == [0, 0, 1]
    inputs["facts.json"] = {"path": str(facts)}
    _, text = built(inputs, tmp_path / "one.pdf")
    assert "the dense model scores 12.0 [11.9, 12.1]." in text
    assert "The largest losses: 15% (8.00 [7.90, 8.10]; at chance on 1 of 1), 9% (3" in text
    assert "better in word perplexity in 1, worse in 1" in text
    # The two benchmarks have no unit in common: each row says its own.
    assert "Dense model Chance" in text and "75.0 [60.0, 86.0]% 25.0%" in text
    assert "12.0 [11.0, 13.0] 18.0" in text


def test_a_study_without_a_mean_says_what_each_benchmark_says(entry, gather, inputs, tmp_path):
    """Two texts: at 6% one perplexity falls and the other rises, and no mean is stated."""
    (study,) = entry["studies"]
    scores = {"prose": {"dense": 12.0, "6%": 11.0, "9%": 15.0}}
    scores["code"] = {"dense": 6.0, "6%": 9.0, "9%": 7.0}
    rows, noise = [], np.random.default_rng(0).normal(0, 0.01, QUESTIONS)
    result = benchmark_result(entry["evaluations"], "dense", "arc_easy")
    for benchmark, of_labels in scores.items():
        label = f"Perplexity ({benchmark})"
        metric = Metric.from_config({"name": "token_perplexity", "label": label}).as_record()
        for name, value in of_labels.items():
            method = "dense" if name == "dense" else "tucker"
            made = row(name, method, value, value - of_labels["dense"], benchmark, **metric)
            rows.append(made | {"benchmark_label": label})
            frame = {"task": "t", "question": range(QUESTIONS), "weight": 7}
            frame["value"] = np.log(value) + noise * (method != "dense")
            write_scores(entry["evaluations"], made["decomposition"], benchmark, frame)
        result["score"] = {"metric": "token_perplexity", "value": 12.0, "interval_95": [11.0, 13.0]}
        write_result(entry["evaluations"], "dense", benchmark, result)
    pd.DataFrame(rows).to_csv(study["table"], index=False)
    named = [{"benchmark": name, "label": name, "metric": metric, "differs": ""} for name in scores]
    facts = gather(entry | {"benchmarks": named})
    (study,) = read_json(facts)["models"][0]["studies"]
    assert [own["benchmark"] for own in study["scores"]] == [
        "Perplexity (prose)",
        "Perplexity (code)",
    ]
    worst = [[row["label"] for row in own["worst"]] for own in study["scores"]]
    assert worst == [["9%"], ["6%", "9%"]]
    inputs["facts.json"] = {"path": str(facts)}
    _, text = built(inputs, tmp_path / "one.pdf")
    assert "On 40 questions of Perplexity (prose) the dense model scores 12.0 [11.9, 12.1]." in text
    assert "On 40 questions of Perplexity (code) the dense model scores 6.00 [5.90, 6.10]." in text
    assert "plain mean over benchmarks;" not in text


@pytest.fixture
def inputs(gather, tmp_path):
    test = {
        "says": "a loss",
        "short": "a loss",
        "unit": "points",
        "range": [4, 10],
        "expected": "4 to 10 points",
        "measured": "9.88 points [2, 17.6]",
        "studies": ["table_4_2"],
        "verdict": "undecided",
        "reason": "",
        "value": 9.8765,
        "interval_95": [2.0, 17.6],
        "reading": "on this test set",
        "readings": [
            {"reading": "on this test set", "verdict": "undecided"},
            {"reading": "on questions like these", "verdict": "supported"},
        ],
        "holds_for": "Model M, A CPU",
        "questions": 1234,
        "flags": ["throttled device"],
        "evidence": ["results/models/m/studies/table_4_2.csv"],
    }
    judged = {
        "verdict": "undecided",
        "reading": "on this test set",
        "otherwise": "supported on questions like these",
        "reason": "",
        "holds_for": "Model M, A CPU",
        "studies": ["table_4_2", "figure_9_9"],
        "deciding": {
            "test": 0,
            "says": "a loss",
            "measured": "9.88 points [2, 17.6]",
            "note": "expected 4 to 10",
            "flags": ["throttled device"],
        },
        "tests": [test],
    }
    claim = {
        "id": "C7",
        "title": "It costs",
        "claim": "It costs accuracy.",
        "source": "Section 4",
        "named": {"model": "Llama"},
        "figures": [{"name": "figure_4_1", "files": [str(tmp_path / "figure.pdf")]}],
        "scales": ["laptop", "paper"],
        "allowed": "any",
        "scopes": {"run": judged},
    }
    scope = {"scope": "run", "title": "This run", "holds_for": "Model M on A CPU", "reason": ""}
    ledger = {
        "scopes": [scope | {"counts": {"supported": 0, "undecided": 1}}],
        "claims": [claim],
        "method": "How a verdict is reached.",
        "deciding": "Which test decides.",
        "plan": None,
        "plan_method": "",
    }
    write_json(tmp_path / "claims.json", ledger)
    (tmp_path / "figure.typ").write_text("#set page(width: 5cm, height: 3cm)\nA figure.")
    typst.compile(tmp_path / "figure.typ", output=tmp_path / "figure.pdf")
    figure = {"path": str(tmp_path / "figure.pdf"), "rule": "accuracy_figure"}
    made = {"script": "workflow/scripts/accuracy_figure.py", "data": "figures/m/figure_4_1.csv"}
    schematic = {"rule": "schematic", "script": "workflow/scripts/schematic.py", "data": None}
    table = {"rule": "table_4_2", "script": "workflow/scripts/table_4_2.py", "data": "t.csv"}
    return {
        "facts.json": {"path": str(gather())},
        "claims.json": {"path": str(tmp_path / "claims.json")},
        "thesis.yaml": {"path": THESIS},
        "verdicts.typ": {"path": VERDICTS},
        "m/figure_4_1.pdf": figure | made,
        "llama-2-7b/table_4_2.pdf": figure | table,
        "thesis/figure_1_1.pdf": figure | schematic,
    }


def built(inputs, output):
    """The document and its text, words apart by single spaces."""
    build_document(TEMPLATE, inputs, output)
    document = pypdf.PdfReader(output)
    return document, " ".join("\n".join(p.extract_text() for p in document.pages).split())


def test_the_report_is_the_same_bytes_twice(inputs, tmp_path):
    for name in ("one.pdf", "two.pdf"):
        build_document(TEMPLATE, inputs, tmp_path / name)
    first = (tmp_path / "one.pdf").read_bytes()
    assert first.startswith(b"%PDF")
    assert first == (tmp_path / "two.pdf").read_bytes()


def test_a_claim_leads_to_its_study_its_file_and_its_figure(inputs, tmp_path):
    document, text = built(inputs, tmp_path / "one.pdf")
    assert "Results: results/models/m/studies/table_4_2.csv. Figure: " in text
    assert "flagged: throttled device" in text and "n = 1,234" in text
    assert "9.88 points [2, 17.6]" in text
    # The figure's caption: what made it, with the file of its data, or none.
    assert "Rule accuracy_figure, script workflow/scripts/accuracy_figure.py, data " in text
    assert "script workflow/scripts/schematic.py, drawn from no data." in text
    assert ".pdf" not in text
    pages = [page.extract_text() for page in document.pages]
    targets = [
        document.get_page_number(document.named_destinations[str(name)].page.get_object())
        if isinstance(name, str)
        else document.get_page_number(name[0].get_object())
        for page in document.pages
        for annotation in page.get("/Annots", [])
        if (name := annotation.get_object().get("/Dest") or annotation.get_object()["/A"]["/D"])
    ]
    assert any("Figure 4.1 of the thesis on Model M" in pages[target] for target in targets)


def test_a_claim_names_its_studies_scales_and_single_answers(inputs, tmp_path):
    ledger = read_json(inputs["claims.json"]["path"])
    answers = "results/models/m/evaluations"
    (test,) = ledger["claims"][0]["scopes"]["run"]["tests"]
    test["evidence"] += [f"{answers}/{name}.csv" for name in ("dense", "tucker-9%")]
    write_json(inputs["claims.json"]["path"], ledger)
    _, text = built(inputs, tmp_path / "one.pdf")
    assert "Study: table_4_2, figure_9_9." in text
    assert "table_4_2.csv, 2 files of answers below results/models/m/evaluations. Figure: " in text
    assert "Figure 4.1 of Model M" in text and "How a verdict is reached." in text
    assert "laptop, paper" in text


def test_the_first_page_is_one_table_of_claims_and_scopes(inputs, tmp_path):
    """Every claim of the thesis, with verdict, deciding number and the page of its tests."""
    ledger = made_ledger(tmp_path / "claims.json")
    document, _ = built(inputs, tmp_path / "one.pdf")
    pages = [" ".join(page.extract_text().split()) for page in document.pages]
    for row in ledger["claims"]:
        own = row["scopes"]["run"]
        assert row["title"] in pages[0] and own["deciding"]["measured"] in pages[0]
        (there,) = (number for number, page in enumerate(pages) if f"{row['id']}: " in page)
        assert "Allowed: " in pages[there]
    assert "1 Method" not in pages[0] and "Method" in pages[1]
    assert "Small-1M on A CPU" in pages[0] and "on 4 × NVIDIA A100 80GB" in pages[0]
    assert pages[0].count("not run yet") == 1 + len(ledger["claims"])
    assert "supported on this test set; undecided on questions like these" in pages[0]


def test_another_scope_is_another_column(inputs, tmp_path):
    ledger = read_json(inputs["claims.json"]["path"])
    ledger["scopes"].append(ledger["scopes"][0] | {"scope": "x", "title": "Another device"})
    judged = ledger["claims"][0]["scopes"]
    judged["x"] = judged["run"] | {"verdict": "supported", "otherwise": ""}
    write_json(inputs["claims.json"]["path"], ledger)
    document, text = built(inputs, tmp_path / "one.pdf")
    first = " ".join(document.pages[0].extract_text().split())
    assert "This run" in first and "Another device" in first
    assert "undecided on this test set; supported on questions like these" in first
    assert "throttled device" in first
    assert text.count("Another device, on Model M, A CPU: supported on this test set") == 1


def test_planned_looks_are_described_and_each_test_says_its_own(inputs, tmp_path):
    ledger = read_json(inputs["claims.json"]["path"])
    ledger["plan"] = {"numbers": {"arc_easy": [24, 48, 1536], "mmlu": [16, 32, 64]}}
    ledger["plan_method"] = "Questions are asked in planned looks."
    (test,) = ledger["claims"][0]["scopes"]["run"]["tests"]
    test["looked"] = "look 2 of 3; needs about 130 questions, 2,376 exist"
    write_json(inputs["claims.json"]["path"], ledger)
    _, text = built(inputs, tmp_path / "one.pdf")
    assert "Questions are asked in planned looks." in text
    assert "Questions at each look: arc_easy 24, 48, 1536; mmlu 16, 32, 64." in text.replace(
        "1,536", "1536"
    ).replace("1 536", "1536")
    assert "look 2 of 3; needs about 130 questions, 2,376 exist" in text


def test_numbers_of_questions_that_differ_are_said(entry, gather, inputs, tmp_path):
    (study,) = entry["studies"]
    table = pd.read_csv(study["table"])
    asked = {"6%": 16, "9%": 32}
    few = table["label"].map(asked).fillna(QUESTIONS).astype(int)
    table.assign(questions=few, questions_paired=few).to_csv(study["table"], index=False)
    facts = gather(entry)
    (model,) = read_json(facts)["models"]
    (benchmark,), (made,) = model["benchmarks"], model["studies"][0]["scores"]
    assert [benchmark[f"questions{end}"] for end in ("", "_least", "_most")] == [40, 16, 40]
    assert [made[f"questions_paired_{end}"] for end in ("least", "most")] == [16, 32]
    inputs["facts.json"] = {"path": str(facts)}
    _, text = built(inputs, tmp_path / "one.pdf")
    assert "asked different numbers of questions: 16 to 40 of ARC-Easy." in text
    assert "The others are compared with it on 16 to 32 of them." in text
    assert "ARC-Easy 16 to 40 of 50" in text


def test_what_else_the_answers_are_worth_stands_below_the_headline(entry, gather, inputs, tmp_path):
    """With the chance level that the questions have, not that of the entry."""
    result = copy.deepcopy(benchmark_result(entry["evaluations"], "dense", "arc_easy"))
    result["score"]["chance"] = 0.245
    other = {"metric": "acc_norm", "value": 0.5, "interval_95": [0.3, 0.7], "chance": 0.305}
    result |= {"beside": {"acc_norm": other}}
    write_result(entry["evaluations"], "dense", "arc_easy", result)
    facts = gather(entry)
    (benchmark,) = read_json(facts)["models"][0]["benchmarks"]
    assert (benchmark["chance"], benchmark["at_chance"]) == (0.245, False)
    (own,) = benchmark["beside"]
    assert (own["name"], own["chance"], own["at_chance"]) == ("acc_norm", 0.305, True)
    inputs["facts.json"] = {"path": str(facts)}
    _, text = built(inputs, tmp_path / "one.pdf")
    assert "75.0 [60.0, 86.0] 24.5" in text
    assert "beside: acc norm 50.0 [30.0, 70.0] 30.5 at chance" in text


def test_a_study_says_what_its_baseline_scores(entry, gather, inputs, tmp_path):
    path = entry["studies"][0]["table"]
    table = pd.read_csv(path)
    columns = ["baseline", "baseline_low", "baseline_high", "baseline_label"]
    table.loc[table["benchmark"] == "arc_easy", columns] = [0.697, 0.665, 0.727, "bag of words"]
    table.to_csv(path, index=False)
    facts = gather(entry)
    (own,) = read_json(facts)["models"][0]["studies"][0]["baselines"]
    assert (own["baseline_label"], own["score"]) == ("bag of words", 0.697)
    inputs["facts.json"] = {"path": str(facts)}
    _, text = built(inputs, tmp_path / "one.pdf")
    assert (
        "On ARC-Easy the baseline without a model (bag of words) scores 69.7 [66.5, 72.7]%." in text
    )


def test_the_authors_data_have_a_section_of_their_own(inputs, tmp_path):
    _, text = built(inputs, tmp_path / "one.pdf")
    assert "intel/auto-round" not in text
    made = [
        {"metric": "latency", "slope": slope, "thesis_slope": 0.5} for slope in (0.51, 0.6, 0.72)
    ]
    made.append({"metric": "power", "slope": 0.098, "thesis_slope": None})
    write_json(tmp_path / "fits.json", made)
    inputs["authors.yaml"] = {"path": "paper/authors/sources.yaml"}
    inputs["authors_fits.json"] = {"path": str(tmp_path / "fits.json")}
    inputs["authors/figure_4_1.pdf"] = inputs["m/figure_4_1.pdf"]
    _, text = built(inputs, tmp_path / "one.pdf")
    text = text.replace("’", "'")
    assert "at 48544584; MIT" in text
    assert "The authors' data" in text and "4 × NVIDIA A100 80GB" in text
    assert "other people's runs" in text and "intel/auto-round" in text
    assert "latency 0.61 0.51 0.72 0.5" in text and "power 0.10 0.10 0.10 –" in text
    assert "Figure 4.1 of the thesis from the authors' data" in text
    assert "Figure 4.1 of the authors' data" in text  # the claim's


def test_a_study_without_a_figure_has_its_text(entry, gather, inputs, tmp_path):
    entry = copy.deepcopy(entry)
    entry["studies"][0] |= {"study": "own", "figure": None}
    entry["fits"] = None
    inputs["facts.json"] = {"path": str(gather(entry))}
    _, text = built(inputs, tmp_path / "one.pdf")
    assert "A study" in text and "at chance on 1 of 1" in text
    assert "Figure 4.1 of the thesis on Model M" not in text


def test_table_4_2_of_a_model_that_is_not_run_is_shown(inputs, tmp_path):
    _, text = built(inputs, tmp_path / "one.pdf")
    assert "parameters that they remove from llama-2-7b" in text


def test_the_text_states_what_was_computed(inputs, tmp_path):
    _, text = built(inputs, tmp_path / "one.pdf")
    for words in (
        "Of 2 configurations, 1 is worse than it after Holm’s adjustment (1 at 95% each",
        "better in accuracy in 1, worse in 0 and undecided in 1 of 2 configurations.",
        "and 6 in the caption of Table 4.1; Table 4.1 itself lists 7",
        "the exponent is 39, not 37",
        "4,095 configurations for llama-2-7b",
        "66.6 points at 9% and more than there are from 13.5% on",
        "layer 32 at 9% and layers 1, 2 and 32 at 96%",
        "latency prefill 0.51 [0.50, 0.52] 0.990 0.5 busy machine",
        "2 questions or 2% of them, whichever is more",
        "0.01 for the slope of memory",
        "13.5 GB in sixteen bits",
        "layers cost 3 points at 8% of the parameters, where other places let 9% cost 4 to 11",
        "takes 3 layers there, which remove 9.0%",
        "latency falls by 0.60% (from 0.54 to 0.64 over 6 benchmarks), where 0.5% is printed",
        "0.46% for latency, 0.55% for energy and 0.42% for memory",
        "power falls by 10.6% at 96% of the parameters and by 20.5% on WinoGrande",
        "Of the 66 runs in the authors’ figures 52 are no longer than that",
        "they last from 24 to 229 s",
        "reads acc,none wherever choices are scored",
        "30.2% by mc1 alone, 45.3% by mc2 alone and 35.3% by the group",
        "needs 1 epoch of fine-tuning",
        "sets 2 epochs",
        "Archive none yet",
    ):
        assert words.casefold() in text.casefold()


def test_a_changed_result_changes_the_report(inputs, tmp_path):
    _, before = built(inputs, tmp_path / "one.pdf")
    ledger = read_json(inputs["claims.json"]["path"])
    judged = ledger["claims"][0]["scopes"]["run"]
    judged["tests"][0]["measured"] = judged["deciding"]["measured"] = "3.21 points"
    write_json(inputs["claims.json"]["path"], ledger)
    _, after = built(inputs, tmp_path / "two.pdf")
    assert "9.88" in before and "9.88" not in after and "3.21" in after


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (None, ["Time to run not recorded", "Disk space not recorded"]),
        ({"set_up": {"seconds": 90}}, ["Time to prepare 1.5 min", "environment not recorded"]),
        (
            {
                "machine": {"device": "Some CPU", "cores": 2},
                "set_up": {"seconds": 60, "environment_bytes": 2_000_000_000},
                "runs": {"laptop": {"seconds": 600, "jobs": 8, "results_bytes": 10_000_000}},
                "tests": {"seconds": 30},
            },
            ["2.00 GB", "laptop 10.0 min 8 0.01 GB", "Some CPU, 2 cores", "take 30 s"],
        ),
    ],
)
def test_times_and_sizes_are_the_reference_machines(inputs, tmp_path, run, says):
    if run is not None:
        write_json(tmp_path / "run.json", run)
        inputs["run.json"] = {"path": str(tmp_path / "run.json")}
    _, text = built(inputs, tmp_path / "one.pdf")
    for words in says:
        assert words in text


def test_a_template_that_does_not_compile_is_one_error(tmp_path):
    (tmp_path / "bad.typ").write_text("#nonsense")
    with pytest.raises(LowrankError, match=r"bad\.typ does not compile.*nonsense"):
        build_document(tmp_path / "bad.typ", {}, tmp_path / "out.pdf")
    assert not (tmp_path / "out.pdf").exists()


CODE = re.compile(
    r"""//.*                                      # comments
    | \$[^$]*\$                                   # mathematics
    | rgb\("\#\w+"\) | luma\(\d+%\)               # colours
    | \b[\d.]+(pt|em|cm|fr)\b | 100%              # lengths
    | \.(at|slice|chunks)\([-\d, ]+\)             # items of lists
    | (places|percent)\(.*?,\ \d\)                # decimal places
    | level:\ \d | columns:\ \d
    | (==|!=|>|<)\ \d+                            # tests of a count
    | [/*]\ 1e9 | \d\ \*\ model\.parameters | value\ /\ 60 | 100\ [-*]
    | (figure|table)_\d_\d | llama-2-7b | interval_95  # keys
    | update\(0\) | "A\.1"                       # numbering of the appendix
    | arXiv\ 2405\.06626 | \(2024, | A100         # names
    | (Section|Table|Figure|Theorem|Chapter)\ \d(\.\d)*
    | ^\ +\d,$                                    # columns of a table
    """,
    re.VERBOSE,
)
WORDS = "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|twice|half|third|hundred"


def typed_numbers(text):
    found = []
    for line in text.splitlines():
        rest = CODE.sub("", line).replace("sixteen bits", "")
        if re.search(rf"\d|\b({WORDS})\b", rest, re.IGNORECASE):
            found.append(line)
    return found


def test_the_template_types_no_number():
    """A number in the text would be one that no file backs: all but the helpers is looked at."""
    text = Path(TEMPLATE).read_text().split("#align(center)")[1]
    assert typed_numbers(text) == []


@pytest.mark.parametrize(
    "line",
    [
        "It fell by 10%.",
        "GPUs with 16 GB or more",
        "speaks of six benchmarks",
        "the thesis measured 4 A100 GPUs",
        "a slope of 0.5 in Section 4.3",
        "#text(size: 9pt)[ 3 of 4 ]",
    ],
)
def test_typed_numbers_are_found(line):
    assert typed_numbers(line) == [line]


def test_what_does_not_fit_together_is_computed(gather):
    found = read_json(gather())["inconsistencies"]
    assert [row["model"] for row in found["tensors"]] == ["llama-2-7b"]
    assert [(row["model"], row["ratio"]) for row in found["operations"]] == [("resnet-50", 2.0)]
    assert found["proof"] == [{"model": "llama-2-7b", "difference": 4095}]
    # 100 points are gone at 100 / 7.4 percent.
    assert found["arc_easy"]["exhausted_at_percent"] == pytest.approx(13.5135, abs=1e-4)
    assert found["arc_easy"]["points"] == pytest.approx(66.6)
    assert found["efficiency"]["power_falls_by_percent"] == pytest.approx(100 / 96)
    assert found["efficiency"]["by_the_slope"] == 4.5
    assert found["avoided_layers"] == [
        {"label": "9%", "layers": [32]},
        {"label": "96%", "layers": [1, 2, 32]},
    ]


def test_a_thesis_that_agrees_with_the_count_is_no_inconsistency(tmp_path):
    spaces = {"model": "m", "tensors": 6, "thesis_tensors": 6, "largest_rank": 8}
    sizes = {"model": "m", "macs": 11.17e9, "thesis_macs": 11.2e9}
    open_size = {"model": "n", "macs": 1.0, "thesis_macs": None}
    tables = {"table_3_1": [spaces], "table_1_1": [sizes, open_size]}
    found = inconsistencies(THESIS, tables, PUBLISHED)
    assert found["tensors"] == found["operations"] == found["avoided_layers"] == []


def test_table_4_2_of_the_thesis_holds_layers_that_it_advises_against():
    """Of the lists in the study: 32 in four, 1 or 2 in six of ten."""
    study = read_yaml("config/studies/table_4_2.yaml")
    from lowrank.space.design_space import expand_layers

    rows = [
        {
            "Label": label,
            "Decomposed layers": ", ".join(map(str, expand_layers(own["layers"]))),
        }
        for label, own in study["configurations"].items()
    ]
    tables = {"table_3_1": [], "table_1_1": [], "table_4_2": rows}
    found = inconsistencies(THESIS, tables, PUBLISHED)["avoided_layers"]
    assert {row["label"]: row["layers"] for row in found} == {
        "9%": [32],
        "33%": [32],
        "48%": [1],
        "60%": [2],
        "75%": [2],
        "84%": [1, 32],
        "96%": [1, 2, 32],
    }


MODEL = {
    "model": "llama-2-7b",
    "label": "Llama",
    "parameters": 7,
    "layers": 32,
    "width": 4096,
    "random_weights": False,
    "quantized": None,
    "dtype": "float16",
    "sampling": "random",
    "seed": 3,
    "device": "A GPU",
    "studies": [{"depth": 32, "width": 4096, "carried_over": False}],
    "benchmarks": [
        {
            "benchmark": name,
            "benchmark_label": label,
            **dict.fromkeys(("questions", "questions_least", "questions_most"), 9),
            "questions_available": 9,
            "max_new_tokens": None,
            "differs": "",
        }
        for name, label in RUN["thesis_benchmarks"]
    ],
    "fits": [],
}


def test_a_run_like_the_thesiss_deviates_in_the_algorithm_alone():
    (only,) = deviations([MODEL], RUN, THESIS)
    assert only.startswith("Truncated singular value decomposition")
    assert Path(re.search(r"\((tests/.*)\)", only)[1]).is_file()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": "own"}, "is none of the thesis's models: 32 layers, 7 parameters."),
        ({"random_weights": True}, "The weights of Llama are random"),
        (
            {"quantized": "x.Q4_1.gguf"},
            "quantized file (x.Q4_1.gguf) and were dequantized to float16",
        ),
        ({"dtype": "bfloat16"}, "Llama is scored in bfloat16; the authors compute in float16,"),
        (
            {"layers": 30, "studies": [{"depth": 32, "width": None, "carried_over": True}]},
            "Llama has 30 layers: layer lists that were written for 32 are carried over",
        ),
        ({"width": 576}, "Llama is 576 wide: pruned ranks above one are carried over from a width"),
        (
            {"benchmarks": MODEL["benchmarks"][:1]},
            "left out: TruthfulQA (no source is present here).",
        ),
        (
            {"benchmarks": MODEL["benchmarks"][1:]},
            "left out: ARC-Easy (this run's configuration does not name them).",
        ),
    ],
)
def test_deviations_are_those_of_the_run(change, says):
    made = deviations([MODEL | change], RUN, THESIS)
    assert len(made) == 2
    assert says in made[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"questions_least": 4, "benchmark_label": "ARC-Easy, 64 tokens at most"},
            "chosen at random by the seed 3): ARC-Easy 4 to 9 of 9.",
        ),
        ({"differs": "It is graded."}, "Llama, ARC-Easy: It is graded."),
        ({"max_new_tokens": 64}, "answers to ARC-Easy are cut after 64 tokens"),
        ({"benchmark": "mrpc"}, "Llama is scored on ARC-Easy, which the thesis does not use."),
    ],
)
def test_deviations_of_a_benchmark(change, says):
    benchmarks = [MODEL["benchmarks"][0] | change, MODEL["benchmarks"][1]]
    made = deviations([MODEL | {"benchmarks": benchmarks}], RUN, THESIS)
    assert says in made[0]


def test_deviations_of_measurements():
    measured = {"metric": "latency", "status": "measured", "reason": ""}
    missing = {"metric": "energy", "status": "not measured", "reason": "no meter"}
    made = deviations([MODEL | {"fits": [measured, missing, measured]}], RUN, THESIS)
    assert "four NVIDIA A100 GPUs with 80 GB each, this run on A GPU in float32." in made[0]
    assert "The batch is 1 here, in 6 trials." in made[1]
    assert made[2:-1] == ["There is no slope of energy: no meter."]


def test_every_printed_value_of_the_text_is_in_the_thesis_file():
    """The places that the report quotes keep their shape."""
    printed = yaml.safe_load(Path(THESIS).read_text())
    assert set(printed["number_of_benchmarks"].values()) == {5, 6}
    for said in printed["accuracy_loss"]["places"].values():
        low, high = said["points"]
        assert 0 < low <= high <= 11
    assert np.isclose(printed["arc_easy_loss"]["points_per_percent"], 7.4)
