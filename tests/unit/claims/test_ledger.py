"""Every claim's verdict on made results that satisfy it, violate it, or leave it open.

The made results are those of a world in which the thesis is right in everything; a violation
changes one of its quantities.
"""

import inspect
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, read_yaml, write_json
from lowrank.base.metric import Metric
from lowrank.base.statistics import AVERAGES
from lowrank.claims.estimate import Estimate, NotTestable
from lowrank.claims.evidence import Evidence
from lowrank.claims.ledger import judge_claims
from lowrank.claims.operators import OPERATORS
from lowrank.claims.scopes import Scope, load_scope
from lowrank.claims.studies import AnsweredStudy
from lowrank.claims.verdict_names import CONTRADICTED, NOT_TESTABLE, SUPPORTED, UNDECIDED
from lowrank.claims.verdicts import combine, deciding, judge, run_test
from lowrank.project.configuration import Project
from lowrank.project.registry import Registry
from lowrank.project.views.claims import judged_models
from scipy.stats import norm

ROOT = Path(__file__).parents[3]
CONFIG = read_yaml(ROOT / "config" / "config.yaml")
PROJECT = Project(CONFIG | {"models": ["llama-2-7b", "bert-base-squad"]}, ROOT / "config")
CLAIMS = PROJECT.registry.claims()
QUESTIONS = 50
FIVE = ["arc_easy", "arc_challenge", "hellaswag", "winogrande", "mmlu"]
CHANCE = {**dict.fromkeys(FIVE, 0.25), "winogrande": 0.5}
WORKLOADS = ["ARC-Easy", "MMLU", "WinoGrande"]
SUBJECTS = {
    "llama": {
        "model": "llama-2-7b",
        "label": "Llama-2-7B",
        "device": "A100",
        "device_type": "cuda",
    },
    "bert": {
        "model": "bert-base-squad",
        "label": "BERT-Base",
        "device": "A100",
        "device_type": "cuda",
    },
    "none": {"model": "", "label": "", "device": "", "device_type": ""},
}

RIGHT = {
    "exponent": 0,  # of the design space, beyond the thesis's
    "slope": 0.6,  # points lost for each percent of parameters, up to 48%
    "slope_beyond": 0.1,  # and beyond
    "winogrande": 0.75,  # its share of that
    "rank": 0.5,  # points between pruned ranks
    "v": 0.0,  # points that V loses beyond its group
    "int": 10.0,
    "few_layers": 3.0,
    "one_tensor": 52.0,
    "bert_few_layers": 3.0,
    "ends": 10.0,
    "bert_ends": 10.0,
    "distance": 2.0,  # points gained for each layer of distance
    "truthfulqa_distance": 0.0,
    "truthfulqa_6": 6.0,
    "truthfulqa_96": 3.0,
    "latency": 0.5,
    "energy": 0.5,
    "memory": 0.4,
    "power": 0.0,
    "spread": 0.01,  # of the slopes of workloads
    "uneven": 0.0,  # percent of latency by which every other configuration is off
    "fine_tuned": 5.4,
    "perplexity": 0.5,
    "lord_latency": 22.35,
    "lord_seconds": 400.0,
    "qlora_memory": 21.2,
    "reduced_order": 5.3,
    "pruning": 10.0,
    "noise": 1e-4,  # standard deviation of a question's score
    "unrest": 1e-3,  # standard deviation of a measurement
}
"""The quantities of a world in which every claim holds."""

SLOPES = ("latency", "energy", "memory", "power")
HARD_TO_TELL = {name: {"noise": 2.0, "unrest": 0.3} for name in CLAIMS}
HARD_TO_TELL["C9"] = {"power": 0.05}  # noise would be a spread, and contradict

VIOLATIONS = {
    "C1": [{"exponent": 2}, {"exponent": -2}],
    "C2": [{"rank": 5.0}, {"slope": 0.0, "slope_beyond": 0.0}],
    "C3": [{"v": 6.0}, {"v": -6.0}, {"int": 0.0}],
    "C4": [
        {"few_layers": 60.0},
        {"few_layers": 0.5},
        {"one_tensor": 30.0},
        {"bert_few_layers": 40.0},
    ],
    "C5": [{"ends": 0.0}, {"bert_ends": 0.0}],
    "C6": [{"distance": -2.0}, {"truthfulqa_distance": 1.0}],
    "C7": [{"slope": 2.0}, {"slope": 0.1}],
    "C8": [
        *({metric: slope} for metric in ("latency", "energy", "memory") for slope in (0.1, 0.9)),
    ],
    "C9": [{"power": 0.3}, {"power": -0.3}, {"spread": 0.3}, {"uneven": 30.0}],
    "C10": [{"slope_beyond": 0.9}, {"truthfulqa_6": -6.0}, {"truthfulqa_96": 12.0}],
    "C11": [{"winogrande": 1.5}, {"slope": 2.0}, {"slope": 0.1}],
    "C12": [{"fine_tuned": 15.0}],
    "C13": [
        {"perplexity": 5.0},
        {"lord_latency": 10.0},
        {"lord_latency": 40.0},
        {"lord_seconds": 900.0},
        {"qlora_memory": 10.0},
        {"qlora_memory": 40.0},
    ],
    "C14": [{"reduced_order": 15.0}],
}


def points_lost(world, study, row, benchmark):
    """Percentage points that a configuration loses to the dense model in a world."""
    label, series = row["label"], row["series"]
    percent = float(label[:-1]) if label.endswith("%") else 0.0
    if study in ("table_4_2", "figure_3_2", "fine_tuning"):
        if series == "fine-tuned":
            return world["fine_tuned"]
        if benchmark == "truthfulqa":
            rise = (percent - 6) / 90
            return (1 - rise) * world["truthfulqa_6"] + rise * world["truthfulqa_96"]
        lost = world["slope"] * min(percent, 48) + world["slope_beyond"] * max(percent - 48, 0)
        share = world["winogrande"] if benchmark == "winogrande" else 1.0
        return share * lost - (world["rank"] if series == "rank 500" else 0.0)
    if study == "figure_3_4":
        scale = 1 if series == "one layer" else 4
        return scale * (5.0 if label in "Q K V SO" else 6.0) + (world["v"] if label == "V" else 0)
    if study == "bert_figure_3_4":
        return world["int"] if label == "Int" else 5.0
    if study == "figure_3_5":
        return world["few_layers"] if label.startswith("all") else world["one_tensor"]
    if study == "bert_figure_3_5":
        return world["bert_few_layers"] if label.startswith("all") else 20.0
    if study == "figure_3_6":
        return world["ends"] if label in ("1", "2", "32") else 3.0
    if study == "bert_figure_3_6":
        return world["bert_ends"] if label in ("1", "2", "11", "12") else 3.0
    if study == "figure_3_7":
        gain = "truthfulqa_distance" if benchmark == "truthfulqa" else "distance"
        return 20.0 - world[gain] * row["position"]
    if study == "reduced_order_modelling":
        return world["pruning" if series == "structured pruning" else "reduced_order"]
    return 0.0  # lord: its claims are about other things


def made_rows(study, kind):
    """The configurations of a study; those that no run has yet as their claims name them."""
    new = {
        "fine_tuning": [("fine-tuned", "15%"), ("", "9%")],
        "lord": [("", "39.58% of the ranks")],
        "reduced_order_modelling": [
            ("reduced order modelling", "80%"),
            ("structured pruning", "80%"),
        ],
    }
    model = judged_models(PROJECT)[kind]
    if study in new:
        made = [(series, label, None, 20.0) for series, label in new[study]]
    else:
        made = [
            (
                row.series,
                row.label,
                row.position,
                row.decomposition.parameter_reduction(model.architecture),
            )
            for row in PROJECT.configurations(study, model)
        ]
    names = ("series", "label", "position", "parameter_reduction_percent")
    dense = {"series": "", "label": "dense", "position": None, "decomposition": "dense"}
    rows = [dense | {"parameter_reduction_percent": 0.0}]
    for index, values in enumerate(made):
        # Named by place, since two series may hold one configuration.
        rows.append(dict(zip(names, values, strict=True)) | {"decomposition": f"{study}-{index}"})
    return rows


def made_study(world, study, kind, benchmarks, folder, rng):
    """Write the table and the answers of a study, and return it."""
    rows, table = made_rows(study, kind), []
    for row in rows:
        for benchmark in benchmarks:
            base = 40.0 if benchmark == "truthfulqa" else 85.0
            lost = 0.0 if row["label"] == "dense" else points_lost(world, study, row, benchmark)
            metric = Metric.from_config("acc", CHANCE.get(benchmark))
            scores = (base - lost) / 100 + rng.normal(0, world["noise"], QUESTIONS)
            if benchmark == "wikitext":
                metric = Metric.from_config("word_perplexity")
                scores = 2.5 + rng.normal(0, world["noise"], QUESTIONS)
                scores += 0 if row["label"] == "dense" else np.log1p(world["perplexity"] / 100)
            path = folder / "evaluations" / row["decomposition"] / f"{benchmark}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():  # the dense model's, of another study
                scores = pd.read_csv(path)["value"].to_numpy()
            else:
                lines = [f"t,{i},{value},1" for i, value in enumerate(scores)]
                path.write_text("\n".join(["task,question,value,weight", *lines]) + "\n")
            score = AVERAGES[metric.averaging].scores(scores, np.ones(QUESTIONS))
            own = {"benchmark": benchmark, "questions": QUESTIONS, "score": score}
            table.append(row | metric.as_record() | own)
    path = folder / "studies" / f"{study}.csv"
    path.parent.mkdir(exist_ok=True)
    pd.DataFrame(table).to_csv(path, index=False)
    return AnsweredStudy(path, folder / "evaluations")


def made_profiles(world, folder, rng):
    """Write the profiles of Table 4.2's configurations and of LoRD's."""
    rows = []
    for place, row in enumerate(made_rows("table_4_2", "llama")):
        if row["series"]:
            continue  # the control is not profiled
        x = row["parameter_reduction_percent"]
        for metric in SLOPES:
            for index, workload in enumerate(WORKLOADS):
                slope = world[metric] + world["spread"] * (index - 1)
                off = world["uneven"] * (place % 2) if metric == "latency" else 0.0
                ratio = 1 - (slope * x + off) / 100 + rng.normal(0, world["unrest"])
                rows.append(
                    {
                        "decomposition": row["decomposition"],
                        "parameter_reduction_percent": x,
                        "metric": metric,
                        "workload": workload,
                        "ratio": ratio,
                        "doubts": "",
                    }
                )
    of_lord = {"latency": "lord_latency", "fine-tuning memory": "qlora_memory"}
    for index, workload in enumerate(WORKLOADS):
        shared = {"decomposition": "lord-0", "parameter_reduction_percent": 20.0, "doubts": ""}
        shared["workload"] = workload
        for metric, key in of_lord.items():
            fall = world[key] + 0.1 * (index - 1)
            rows.append(shared | {"metric": metric, "ratio": 1 - fall / 100})
        seconds = world["lord_seconds"] + index
        rows.append(shared | {"metric": "compression time", "ratio": 1.0, "value": seconds})
    table = pd.DataFrame(rows).assign(device="A GPU")
    # LoRD's latency is no point of the thesis's lines: another configuration of another model.
    path = folder / "studies" / "table_4_2.profiles.csv"
    path.parent.mkdir(exist_ok=True)
    table.to_csv(path, index=False)
    return path


def made_design_space(world, folder):
    names = ["bert-base-uncased", "bert-large-uncased", "llama-2-7b", "llama-2-70b"]
    table = pd.DataFrame({"model": names, "thesis_scale_exponent": 37})
    table["scale_exponent"] = 37 + world["exponent"]
    table.to_csv(folder / "table_3_1.csv", index=False)
    return Evidence(design_space=folder / "table_3_1.csv")


def made_evidence(claim, folder, **changes):
    """The results of a world, as far as the tests of a claim ask for them."""
    world = RIGHT | changes
    rng = np.random.default_rng(0)
    made = {"none": made_design_space(world, folder)}
    for kind in ("llama", "bert"):
        asked = {}
        for test in claim["tests"]:
            arguments = test["arguments"]
            if test["kind"] == kind and "study" in arguments:
                names = arguments.get("benchmarks") or [arguments.get("benchmark", "arc_easy")]
                names = [*names, *(o for o in arguments.get("others", []) if isinstance(o, str))]
                asked.setdefault(arguments["study"], {}).update(dict.fromkeys(names))
        (folder / kind).mkdir()
        studies = {
            study: made_study(world, study, kind, benchmarks, folder / kind, rng)
            for study, benchmarks in asked.items()
        }
        made[kind] = Evidence(studies, benchmark_workloads=WORKLOADS)
    made["llama"].profiles = made_profiles(world, folder / "llama", rng)
    if "lord" not in made["llama"].studies:
        table = pd.read_csv(made["llama"].profiles)
        table = table[table["decomposition"] != "lord-0"]
        table.to_csv(made["llama"].profiles, index=False)
    return made


def judgement_on(name, evidence, folder, subjects=SUBJECTS):
    """The ledger's judgement of one claim on one scope."""
    return judgement(name, Scope("run", "This run", evidence, subjects), folder)


def judgement(name, scope, folder):
    judge_claims({name: CLAIMS[name]}, [scope], {}, folder / "claims.json")
    (row,) = read_json(folder / "claims.json")["claims"]
    return row["scopes"][scope.name]


def test_every_claim_of_the_thesis_is_there():
    assert list(CLAIMS) == [f"C{number}" for number in range(1, 15)] == list(VIOLATIONS)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_is_supported_where_the_thesis_is_right(name, tmp_path):
    row = judgement_on(name, made_evidence(CLAIMS[name], tmp_path), tmp_path)
    assert row["verdict"] == SUPPORTED, row
    for test in row["tests"]:
        low, high = test["interval_95"]
        assert low <= test["value"] <= high
        assert test["evidence"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        pytest.param(name, change, id=f"{name}-{'-'.join(map(str, change.items()))}")
        for name, changes in VIOLATIONS.items()
        for change in changes
    ],
)
def test_a_claim_is_contradicted_where_the_thesis_is_wrong(name, change, tmp_path):
    row = judgement_on(name, made_evidence(CLAIMS[name], tmp_path, **change), tmp_path)
    assert row["verdict"] == CONTRADICTED, row


@pytest.mark.parametrize("name", [name for name in CLAIMS if name != "C1"])  # C1 is counted
def test_a_claim_is_undecided_where_noise_hides_it(name, tmp_path):
    row = judgement_on(name, made_evidence(CLAIMS[name], tmp_path, **HARD_TO_TELL[name]), tmp_path)
    assert row["verdict"] == UNDECIDED, row


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_is_not_testable_on_a_run_without_its_results(name, tmp_path):
    row = judgement_on(name, dict.fromkeys(("none", "llama", "bert"), Evidence()), tmp_path)
    assert row["verdict"] == NOT_TESTABLE
    assert row["statement"] == f"not testable here ({row['reason']})"
    if CLAIMS[name]["untested"]:
        (study,) = row["studies"]
        expected = f"the study {study} is not part of this run: {CLAIMS[name]['untested']}"
        assert expected in row["reason"]
        assert {tuple(test["scales"]) for test in row["tests"]} == {()}
        assert row["deciding"]["note"] == CLAIMS[name]["untested"]


# --- verdicts ---------------------------------------------------------------------------------


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


def test_an_effect_of_exactly_nothing_supports_no_order():
    nothing = Estimate.exact(0.0)
    assert judge(nothing, 0, None) == UNDECIDED
    assert judge(nothing, None, 0) == UNDECIDED
    assert judge(nothing, 0, 0) == SUPPORTED
    assert judge(Estimate.exact(1e-14), 0, None) == UNDECIDED  # what rounding left
    assert judge(Estimate.exact(-1e-14), None, 0) == UNDECIDED
    assert judge(Estimate.exact(-1e-14), 0, 0) == SUPPORTED
    assert judge(Estimate.exact(0.1), 0, None) == SUPPORTED
    assert judge(Estimate.exact(0.1), None, 0) == CONTRADICTED


def test_resamples_that_are_all_equal_are_no_certainty():
    equal = Estimate.resampled(5.0, np.full(2000, 5.0))
    assert judge(equal, 4, 6) == judge(equal, 0, 1) == UNDECIDED
    assert judge(Estimate.exact(5.0), 4, 6) == SUPPORTED
    assert "resamples are equal" in equal.undecidable


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


def made_test(verdict, low, high, bounds, reason=""):
    """A test's result, as far as it says which test decides."""
    own = {"verdict": verdict, "reason": reason, "range": bounds, "interval_95": [low, high]}
    return own | {"value": (low + high) / 2}


MISSING = {"verdict": NOT_TESTABLE, "reason": "no such model", "range": [0, None]}


@pytest.mark.parametrize(
    ("verdict", "tests", "index"),
    [
        # Its far end is out by 3 half-widths, by 5 and by 4: the second is the clearest.
        (
            CONTRADICTED,
            [
                made_test(CONTRADICTED, -3, -1, [0, None]),
                made_test(CONTRADICTED, 15, 17, [None, 12]),
                made_test(CONTRADICTED, -16, -8, [0, 5]),
                made_test(UNDECIDED, -90, 1, [0, None]),
            ],
            1,
        ),
        # What was counted has no doubt at all.
        (
            CONTRADICTED,
            [made_test(CONTRADICTED, -30, -29, [0, None]), made_test(CONTRADICTED, 2, 2, [0, 0])],
            1,
        ),
        # The tightest of the supported: 1 of 1, 1 of 4.
        (
            SUPPORTED,
            [made_test(SUPPORTED, 1, 3, [0, None]), made_test(SUPPORTED, 1, 9, [0, 10])],
            1,
        ),
        (SUPPORTED, [made_test(SUPPORTED, 0, 0, [0, 0]), made_test(SUPPORTED, 1, 1, [0, 2])], 0),
        # The undecided test, though a supported one is tighter; one that is at chance comes last.
        (
            UNDECIDED,
            [
                made_test(SUPPORTED, 0.1, 9, [0, None]),
                made_test(UNDECIDED, -9, 1, [0, None], "all at chance"),
                made_test(UNDECIDED, -1, 3, [0, None]),
            ],
            2,
        ),
        # Undecided because one could not be made: the tightest of the others.
        (
            UNDECIDED,
            [
                MISSING,
                made_test(SUPPORTED, 5, 6, [0, None]),
                made_test(SUPPORTED, 1, 9, [0, None]),
            ],
            2,
        ),
        (NOT_TESTABLE, [MISSING, MISSING], None),
    ],
)
def test_which_test_decides(verdict, tests, index):
    assert deciding(tests, verdict) == index


@pytest.mark.parametrize("name", OPERATORS)
def test_the_schema_has_the_parameters_of_every_operator(name):
    """What the schema lets through fits: no verdict is asked for with a wrong argument."""
    schema = read_yaml(ROOT / "config/schemas/claims.schema.yaml")["$defs"]["test"]
    assert schema["properties"]["operator"]["enum"] == list(OPERATORS)
    (arguments,) = (
        entry["then"]["properties"]["arguments"]
        for entry in schema["allOf"]
        if entry["if"]["properties"]["operator"]["const"] == name
    )
    _, *parameters = inspect.signature(OPERATORS[name]).parameters.values()
    assert arguments["propertyNames"]["enum"] == [own.name for own in parameters]
    required = [own.name for own in parameters if own.default is inspect.Parameter.empty]
    assert arguments["required"] == required
    assert set(arguments["propertyNames"]["enum"]) <= set(
        schema["properties"]["arguments"]["properties"]
    )


# --- statistics of scores, by hand -------------------------------------------------------------


def small_study(folder, answers, labels=None, chance=None, metric="acc", weights=1):
    """A study of one benchmark from {configuration: scores of its questions}."""
    metric = Metric.from_config(metric, chance)
    rows = []
    for index, (name, values) in enumerate(answers.items()):
        path = folder / "evaluations" / name / "quiz.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame = {"task": "t", "question": range(len(values)), "value": values, "weight": weights}
        pd.DataFrame(frame).to_csv(path, index=False)
        row = {"series": "", "label": name, "position": index, "decomposition": name}
        row |= labels[name] if labels else {}
        row |= {"parameter_reduction_percent": 10.0 * index, "benchmark": "quiz"}
        weights_Q = np.broadcast_to(weights, len(values))
        score = AVERAGES[metric.averaging].scores(np.array(values), weights_Q)
        rows.append(row | metric.as_record() | {"questions": len(values), "score": score})
    (folder / "studies").mkdir(exist_ok=True)
    path = folder / "studies" / "small.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return Evidence({"small": AnsweredStudy(path, folder / "evaluations")})


def test_answers_to_one_question_stay_together(tmp_path):
    """What moves all configurations alike leaves the interval of a difference narrow."""
    rng = np.random.default_rng(0)
    shared = rng.normal(0.5, 0.3, 400)
    own = {name: rng.normal(0, 0.01, 400) for name in ("dense", "a")}
    evidence = small_study(tmp_path, {"dense": shared + own["dense"], "a": shared + own["a"] - 0.1})
    made = OPERATORS["loss"](evidence, "small", {}, ["quiz"])
    low, high = made.interval(0.95)
    error = 100 * (own["dense"] - own["a"]).std() / 20
    assert made.value == pytest.approx(10, abs=0.2)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert high - low < 0.1 * (2 * 1.96 * 100 * 0.3 * np.sqrt(2) / 20)  # unpaired
    shuffled = {"dense": shared + own["dense"], "a": rng.permutation(shared + own["a"] - 0.1)}
    (tmp_path / "other").mkdir()
    apart = small_study(tmp_path / "other", shuffled)
    assert judge(made, 0, None) == SUPPORTED
    low, high = OPERATORS["loss"](apart, "small", {}, ["quiz"]).interval(0.95)
    assert high - low > 5  # the same scores, but of other questions


def test_no_discordant_answer_is_undecided_not_certain(tmp_path):
    right = [1.0, 0.0] * 20
    evidence = small_study(tmp_path, {"dense": right, "a": right})
    test = CLAIMS["C7"]["tests"][0] | {"range": [-1, 1], "operator": "loss"}
    test["arguments"] = {"study": "small", "configurations": {}, "benchmarks": ["quiz"]}
    result = run_test(test, evidence, 1)
    assert result["value"] == 0 and result["interval_95"] == [0, 0]
    assert result["verdict"] == UNDECIDED
    assert "resamples are equal" in result["reason"]


def test_the_lowest_and_its_nearest_competitor(tmp_path):
    rng = np.random.default_rng(0)
    base = rng.normal(0.5, 0.001, 50)
    evidence = small_study(
        tmp_path, {"dense": base, "a": base - 0.3, "b": base - 0.1, "c": base - 0.25}
    )
    others = [{"labels": ["b"]}, {"labels": ["c"]}]
    made = OPERATORS["above_lowest"](evidence, "small", {"labels": ["a"]}, others, ["quiz"])
    assert made.value == pytest.approx(-5)  # against c, not the mean of b and c
    others = [{"labels": ["a"]}, {"labels": ["c"]}]
    made = OPERATORS["above_lowest"](evidence, "small", {"labels": ["b"]}, others, ["quiz"])
    assert made.value == pytest.approx(20)


def test_the_variation_of_ranks_is_not_the_noise_of_the_questions(tmp_path):
    """40 questions of right or wrong: equal series differ by points, none of which is real."""
    rng = np.random.default_rng(3)
    names = [f"{series}{index}" for series in "ab" for index in range(10)]
    answers = {name: rng.integers(0, 2, 40).astype(float) for name in ["dense", *names]}
    labels = {name: {"series": name[0], "label": name[1:]} for name in names}
    labels["dense"] = {"series": "", "label": "dense"}
    evidence = small_study(tmp_path, answers, labels)
    made = OPERATORS["root_mean_square_contrast"](
        evidence, "small", {"series": "a"}, {"series": "b"}, ["quiz"]
    )
    raw = [100 * abs(answers[f"a{i}"].mean() - answers[f"b{i}"].mean()) for i in range(10)]
    assert np.mean(raw) > 6
    assert made.interval(0.95)[0] == 0 and made.value < np.mean(raw)
    # Without noise it is the plain root mean square.
    base = rng.normal(0.5, 1e-4, 40)
    quiet = {"dense": base, "a0": base + 0.03, "b0": base, "a1": base, "b1": base + 0.04}
    quiet = {name: values + rng.normal(0, 1e-5, 40) for name, values in quiet.items()}
    (tmp_path / "quiet").mkdir()
    evidence = small_study(tmp_path / "quiet", quiet, {name: labels[name] for name in quiet})
    made = OPERATORS["root_mean_square_contrast"](
        evidence, "small", {"series": "a"}, {"series": "b"}, ["quiz"]
    )
    assert made.value == pytest.approx(np.sqrt((3**2 + 4**2) / 2), abs=0.01)


def test_series_that_do_not_pair_are_an_error(tmp_path):
    values = np.random.default_rng(0).normal(size=20)
    evidence = small_study(tmp_path, {"dense": values, "a": values, "b": values})
    with pytest.raises(LowrankError, match="do not pair"):
        OPERATORS["root_mean_square_contrast"](
            evidence, "small", {"labels": ["a"]}, {"labels": ["b"]}, ["quiz"]
        )


def test_what_only_guesses_is_flagged_and_supports_nothing(tmp_path):
    rng = np.random.default_rng(0)
    guesses = {name: (rng.random(400) < 0.25).astype(float) for name in "abc"}
    answers = {"dense": (rng.random(400) < 0.8).astype(float), **guesses}
    evidence = small_study(tmp_path, answers, chance=0.25)
    test = {
        "says": "a less b",
        "short": "a less b",
        "operator": "contrast",
        "unit": "points",
        "range": [-20, 20],
        "needs_signal": True,
        "arguments": {
            "study": "small",
            "first": {"labels": ["a"]},
            "second": {"labels": ["b"]},
            "benchmarks": ["quiz"],
        },
    }
    result = run_test(test, evidence, 1)
    assert result["verdict"] == UNDECIDED
    assert result["reason"] == "all at chance"
    assert result["flags"] == ["at chance"]
    free = run_test(test | {"needs_signal": False}, evidence, 1)
    assert (free["verdict"], free["flags"]) == (SUPPORTED, ["at chance"])
    # One configuration above chance is a signal.
    answers["a"] = (rng.random(400) < 0.4).astype(float)
    (tmp_path / "other").mkdir()
    evidence = small_study(tmp_path / "other", answers, chance=0.25)
    assert run_test(test, evidence, 1)["flags"] == []


@pytest.mark.parametrize("name", ["C2", "C10", "C11"])
def test_a_flat_floor_is_no_support(name, tmp_path):
    """Everything falls to chance at once: ranks agree, loss tapers off, WinoGrande loses least."""
    evidence = made_evidence(CLAIMS[name], tmp_path, noise=0.4)
    for study in evidence["llama"].studies.values():
        table = pd.read_csv(study.path, keep_default_na=False)
        for place, row in table.iterrows():
            path = study.folder / row["decomposition"] / f"{row['benchmark']}.csv"
            if row["decomposition"] != "dense" and row["benchmark"] in CHANCE:
                answers = pd.read_csv(path)
                answers["value"] += CHANCE[row["benchmark"]] - answers["value"].mean()
                answers.to_csv(path, index=False)
                table.loc[place, "score"] = answers["value"].mean()
        table.to_csv(study.path, index=False)
        study.__post_init__()
    row = judgement_on(name, evidence, tmp_path)
    assert "at chance" in row["tests"][0]["flags"]
    assert row["tests"][0]["verdict"] == UNDECIDED
    assert row["verdict"] in (UNDECIDED, CONTRADICTED)  # C11's sizes are wrong at the floor


# --- what selects configurations ----------------------------------------------------------------


def test_a_selector_takes_what_it_names_and_no_more(tmp_path):
    values = np.random.default_rng(0).normal(size=20)
    study = small_study(tmp_path, dict.fromkeys(["dense", "a", "b", "c"], values)).study("small")
    assert list(study.select({})) == [1, 2, 3]
    assert list(study.select({"dense": True})) == [0]
    assert list(study.select({"dense": True, "labels": ["b"]})) == [0, 2]
    assert list(study.select({"last": 2})) == [2, 3]
    assert list(study.select({"except": [{"labels": ["a"]}, {"last": 1}]})) == [2]
    with pytest.raises(NotTestable, match="no configuration 'd'"):
        study.select({"labels": ["d"]})
    with pytest.raises(LowrankError, match="label: unknown key; did you mean 'labels'"):
        study.select({"label": ["a"]})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  figures: [table_3_1]", "  figure: [table_3_1]", "C1.figure: unknown key"),
        (
            "second: {labels: [distance 1]}",
            "second: {label: [distance 1]}",
            "second.label: unknown",
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
        ("operator: loss\n", "operator: los\n", "C4.tests.2.operator: 'los' is not one of ['loss'"),
        ("{metric: power}", "{metric: power, model: x}", "'model' is not one of ['metric', 'work"),
        ("{metric: power}", "{workloads: all}", "arguments: 'metric' is a required property"),
        ("[[Q, K, V, SO], [G, U, D]]", "[[Q, K, V, SO], G]", "for.tensor.1: 'G' is not of type"),
        (
            "for: {benchmark: [arc_challenge",
            "for: {benchmark: [arc_chalenge",
            "C11.tests.1.for: config: benchmarks: ",
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


# --- statistics of costs, by hand ---------------------------------------------------------------


def small_profiles(folder, ratios, reductions, **columns):
    """Profiles of {workload: ratio of the dense model and of each configuration}."""
    rows = [
        {
            "decomposition": "dense" if x == 0 else f"c{x}",
            "parameter_reduction_percent": x,
            "metric": "latency",
            "workload": workload,
            "ratio": ratio,
            "doubts": "",
            "device": "Profiled CPU",
        }
        | columns
        for workload, values in ratios.items()
        for x, ratio in zip(reductions, values, strict=True)
    ]
    pd.DataFrame(rows).to_csv(folder / "p.profiles.csv", index=False)
    return Evidence({}, folder / "p.profiles.csv", list(ratios))


def test_a_slope_is_the_mean_of_the_workloads_own(tmp_path):
    # Slopes by hand, the dense model's measured ratio among the points: 0.5, 0.3 and 0.4.
    ratios = {
        "a": [1.00, 0.95, 0.90, 0.85],
        "b": [1.01, 0.98, 0.95, 0.92],
        "c": [0.99, 0.95, 0.91, 0.87],
    }
    evidence = small_profiles(tmp_path, ratios, [0, 10, 20, 30])
    made = OPERATORS["efficiency_slope"](evidence, "latency")
    assert made.value == pytest.approx(0.4)
    reach = scipy.stats.t.ppf(0.975, 2) * 0.1 / np.sqrt(3)
    assert made.interval(0.95) == pytest.approx((0.4 - reach, 0.4 + reach))
    assert made.device == "Profiled CPU"


def test_more_configurations_do_not_make_few_workloads_many(tmp_path):
    """A dozen points on each of two lines are two slopes, not two dozen points."""
    x = np.arange(0, 96, 8)
    ratios = {"a": 1 - 0.3 * x / 100, "b": 1 - 0.7 * x / 100}
    made = OPERATORS["efficiency_slope"](small_profiles(tmp_path, ratios, x), "latency")
    low, high = made.interval(0.95)
    assert low < 0 and high > 1  # t of one degree of freedom: 0.5 ± 12.7 × 0.2


def test_one_workload_has_the_interval_of_its_line(tmp_path):
    x, y = [0, 10, 20, 30], [1.0, 0.96, 0.89, 0.86]
    evidence = small_profiles(tmp_path, {"a": y}, x)
    made = OPERATORS["efficiency_slope"](evidence, "latency")
    line = scipy.stats.linregress(x, 100 * (1 - np.array(y)))
    reach = scipy.stats.t.ppf(0.975, 2) * line.stderr
    assert made.value == pytest.approx(line.slope)
    assert made.interval(0.95) == pytest.approx((line.slope - reach, line.slope + reach))


def test_fixed_workloads_are_no_benchmarks(tmp_path):
    ratios = {"a": [1, 0.9, 0.8, 0.7], "b": [1, 0.9, 0.8, 0.71], "decode": [1, 1, 1, 1]}
    evidence = small_profiles(tmp_path, ratios, [0, 10, 20, 30])
    evidence.benchmark_workloads = ["a", "b"]
    assert OPERATORS["efficiency_slope"](evidence, "latency").value > 0.9
    assert OPERATORS["efficiency_slope"](evidence, "latency", "all").value < 0.7
    evidence.benchmark_workloads = ["c"]
    with pytest.raises(NotTestable, match="latency of no benchmark's requests was measured"):
        OPERATORS["efficiency_slope"](evidence, "latency")


def test_spread_and_linearity_by_hand(tmp_path):
    # At 10% the two workloads are 0.9 and 1.1 (sd 0.1414 of 1.0); at 20% and 30% 0.4 and 0.6.
    ratios = {"a": [1, 0.9, 0.4, 0.4], "b": [1, 1.1, 0.6, 0.6]}
    evidence = small_profiles(tmp_path, ratios, [0, 10, 20, 30])
    made = OPERATORS["spread_over_workloads"](evidence, "latency")
    spreads = 100 * np.sqrt(0.02) / np.array([1.0, 0.5, 0.5])
    assert made.value == pytest.approx(spreads.mean())
    made = OPERATORS["linearity"](evidence, "latency")
    r2 = [np.corrcoef([0, 10, 20, 30], values)[0, 1] ** 2 for values in ratios.values()]
    assert made.value == pytest.approx(min(r2))
    low, high = made.interval(0.95)
    assert 0 <= low < made.value < high <= 1


def test_a_change_and_a_value_at_one_configuration(tmp_path):
    evidence = small_profiles(tmp_path, {"a": [1, 0.96], "b": [1, 0.94]}, [0, 10], value=250.0)
    rng = np.random.default_rng(0)
    values = rng.normal(size=20)
    evidence.studies = small_study(
        tmp_path, {"dense": values, "c10": values, "c20": values}
    ).studies
    made = OPERATORS["efficiency_change"](evidence, "latency", "small", {"labels": ["c10"]})
    assert made.value == pytest.approx(5)
    reach = scipy.stats.t.ppf(0.975, 1) * np.sqrt(2) / np.sqrt(2)
    assert made.interval(0.95) == pytest.approx((5 - reach, 5 + reach))
    made = OPERATORS["measurement"](evidence, "latency", "small", {"labels": ["c10"]})
    assert made.value == 250.0
    assert made.undecidable  # two equal values say nothing of a third
    with pytest.raises(NotTestable, match="not measured on these configurations of small"):
        OPERATORS["efficiency_change"](evidence, "latency", "small", {"labels": ["c20"]})


def test_energy_that_was_not_measured_is_not_testable_with_the_machine_s_reason(tmp_path):
    evidence = small_profiles(
        tmp_path, {"a": [None] * 5}, range(5), metric="energy", reason="no RAPL"
    )
    with pytest.raises(NotTestable, match="no RAPL"):
        OPERATORS["efficiency_slope"](evidence, "energy")


def test_perplexity_by_hand(tmp_path):
    rng = np.random.default_rng(0)
    weights = rng.integers(10, 500, 20)
    dense = rng.normal(2.0, 0.1, 20)
    answers = {"dense": dense, "a": dense + 0.1 + rng.normal(0, 0.01, 20)}
    evidence = small_study(tmp_path, answers, metric="word_perplexity", weights=weights)
    one, other = (np.exp(np.average(answers[n], weights=weights)) for n in ("dense", "a"))
    made = OPERATORS["perplexity_increase"](evidence, "small", {}, "quiz")
    assert made.value == pytest.approx(100 * (other / one - 1))
    # A loss is above zero where the configuration is worse, though its score is higher.
    lost = OPERATORS["loss"](evidence, "small", {}, ["quiz"])
    assert lost.value == pytest.approx(other - one) and lost.value > 0
    low, high = lost.interval(0.95)
    assert 0 < low < lost.value < high
    (tmp_path / "shares").mkdir()
    shares = small_study(tmp_path / "shares", {"dense": dense, "a": dense})
    with pytest.raises(NotTestable, match="the score of quiz is no perplexity"):
        OPERATORS["perplexity_increase"](shares, "small", {}, "quiz")


def test_a_perplexity_at_chance_is_as_high_as_that_of_a_guess(tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, 40)
    answers = {"dense": 2 + noise, "a": 7 + noise, "b": 3 + noise}
    settings = {"metric": "byte_perplexity", "chance": 256}
    study = small_study(tmp_path, answers, **settings).study("small")
    a, b = study.select({"labels": ["a"]}), study.select({"labels": ["b"]})
    assert study.at_chance(a, ["quiz"]) and not study.at_chance(b, ["quiz"])
    assert not study.at_chance([*a, *b], ["quiz"])


# --- from files to the ledger -------------------------------------------------------------------


def test_a_verdict_rests_on_the_files_it_lists(tmp_path):
    row = judgement_on("C11", made_evidence(CLAIMS["C11"], tmp_path), tmp_path)
    folder = tmp_path / "llama"
    names = {
        r["label"]: r["decomposition"] for r in made_rows("table_4_2", "llama") if not r["series"]
    }
    expected = [folder / "studies/table_4_2.csv"]
    expected += [folder / "evaluations" / names[x] / "mmlu.csv" for x in ("dense", "9%")]
    assert row["tests"][3]["evidence"] == [str(path) for path in expected]
    assert len(row["tests"][0]["evidence"]) == 1 + 11 * 5
    for test in row["tests"]:
        for path in test["evidence"]:
            assert Path(path).is_file()


def run_files(tmp_path):
    """The files of C7's study, and the description of the model they are of."""
    made_evidence(CLAIMS["C7"], tmp_path)
    folder = tmp_path / "llama"
    write_json(folder / "evaluations/dense/arc_easy.json", {"provenance": {"device_name": "A CPU"}})
    entry = {
        "model": "llama-2-7b",
        "label": "M",
        "device_type": "cpu",
        "benchmarks": FIVE,
        "studies": {"table_4_2": str(folder / "studies/table_4_2.csv")},
        "profiles": [],
    }
    return folder, {"llama": entry}


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
    scores = folder / "evaluations" / table.loc[is_mmlu, "decomposition"].item() / "mmlu.csv"
    values = pd.read_csv(scores)
    values["value"] += 0.3
    values.to_csv(scores, index=False)
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


def test_costs_hold_for_the_device_they_were_measured_on(tmp_path):
    evidence = {"llama": small_profiles(tmp_path, {"a": [1, 0.95, 0.9, 0.86]}, [0, 10, 20, 30])}
    row = judgement_on("C8", evidence, tmp_path)
    assert row["tests"][0]["holds_for"] == "Llama-2-7B, Profiled CPU"
    assert row["tests"][0]["studies"] == ["p"]


def test_a_gpu_s_memory_is_not_tested_on_a_cpu(tmp_path):
    evidence = made_evidence(CLAIMS["C8"], tmp_path)
    subjects = {**SUBJECTS, "llama": SUBJECTS["llama"] | {"device_type": "cpu"}}
    row = judgement_on("C8", evidence, tmp_path, subjects)
    memory = next(test for test in row["tests"] if test["says"] == "memory slope")
    assert memory["verdict"] == NOT_TESTABLE
    assert memory["reason"] == "the test speaks of cuda devices, which this run does not use"
    assert memory["scales"] == ["paper"]
    assert row["verdict"] == UNDECIDED
    assert row["statement"].startswith(
        "on Llama-2-7B, A GPU: undecided (4 of 5 tests could be made; not made: the test speaks of"
    )
    # No test is undecided: one of the others stands for the claim, and says so.
    note = row["deciding"]["note"]
    assert note == "supported, 1 of 5 tests not made"


def test_numbers_of_another_model_are_not_tested_on_this_one(tmp_path):
    subjects = {**SUBJECTS, "llama": SUBJECTS["llama"] | {"model": "small"}}
    row = judgement_on("C4", made_evidence(CLAIMS["C4"], tmp_path), tmp_path, subjects)
    verdicts = [test["verdict"] for test in row["tests"]]
    assert verdicts == [SUPPORTED, SUPPORTED, NOT_TESTABLE, NOT_TESTABLE, SUPPORTED, SUPPORTED]
    assert "speaks of llama-2-7b and" in row["tests"][2]["reason"]


def test_two_scopes_have_a_verdict_each(tmp_path):
    """One more scope is one more entry: nothing else of the ledger knows how many there are."""
    for name in ("right", "wrong"):
        (tmp_path / name).mkdir()
    right = made_evidence(CLAIMS["C2"], tmp_path / "right")
    wrong = made_evidence(CLAIMS["C2"], tmp_path / "wrong", rank=5.0)
    other = {"llama": SUBJECTS["llama"] | {"device": "Another GPU"}}
    scopes = [
        Scope("run", "This run", right, SUBJECTS),
        Scope("other", "Another device", wrong, other),
    ]
    judge_claims({"C2": CLAIMS["C2"]}, scopes, {}, tmp_path / "claims.json")
    ledger = read_json(tmp_path / "claims.json")
    assert [scope["title"] for scope in ledger["scopes"]] == ["This run", "Another device"]
    assert ledger["scopes"][0]["holds_for"] == "Llama-2-7B and BERT-Base on A GPU"
    assert ledger["scopes"][1]["counts"][CONTRADICTED] == 1
    judged = ledger["claims"][0]["scopes"]
    assert [judged[name]["verdict"] for name in ("run", "other")] == [SUPPORTED, CONTRADICTED]
    assert judged["other"]["statement"] == "on Llama-2-7B, Another GPU: contradicted"


def test_the_ledger_says_what_it_holds_for_and_how_it_was_made(tmp_path):
    evidence = made_evidence(CLAIMS["C7"], tmp_path)
    small = {"model": "small", "label": "Small-1M", "device": "A CPU", "device_type": "cpu"}
    scope = Scope("run", "This run", {"llama": evidence["llama"]}, {"llama": small})
    figures = {"figure_4_1": ["figures/small/figure_4_1.pdf"]}
    judge_claims(CLAIMS, [scope], figures, tmp_path / "claims.json")
    ledger = read_json(tmp_path / "claims.json")
    rows = {row["id"]: row for row in ledger["claims"]}
    row = rows["C7"]
    assert row["scales"] == ["laptop", "paper"]
    assert row["title"] == "9% fewer parameters cost 4 to 10 points"
    assert row["figures"] == [{"name": "figure_4_1", "files": ["figures/small/figure_4_1.pdf"]}]
    assert rows["C2"]["figures"] == [{"name": "figure_3_2", "files": []}]
    own = row["scopes"]["run"]
    assert own["statement"].startswith("on Small-1M, A CPU: undecided (6 of 7 tests could be made")
    assert own["studies"] == ["table_4_2"]
    first = own["tests"][0]
    assert (first["expected"], first["range"]) == ("4 to 10 points", [4, 10])
    low, high = first["interval_95"]
    assert first["measured"] == f"5.4 points [{low:.3g}, {high:.3g}]"
    assert rows["C5"]["scopes"]["run"]["tests"][0]["expected"] == "below 0 points"
    assert "not corrected across claims" in ledger["method"]
    assert "fixed effects" in ledger["method"]
    assert "half-widths" in ledger["deciding"]
    assert sum(ledger["scopes"][0]["counts"].values()) == len(CLAIMS)
