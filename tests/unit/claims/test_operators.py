"""The statistics of claims, by hand."""

import inspect
import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml
from lowrank.base.metric import Metric
from lowrank.claims.estimate import THIS_TEST_SET, Contrasts, NotTestable
from lowrank.claims.evidence import STAND_IN, Evidence
from lowrank.claims.operators import OPERATORS
from lowrank.claims.score_operators import _with_absolute
from lowrank.claims.studies import AnsweredStudy, PublishedStudy
from lowrank.claims.verdict_names import CONTRADICTED, SUPPORTED, TRIVIAL, UNDECIDED
from lowrank.claims.verdicts import judge, judge_test, measure
from made_worlds import CLAIMS, ROOT, made_evidence, small_profiles, small_study

GRADES = {"name": "grade", "label": "Grade", "direction": "higher", "scale": 100.0}
"""A metric whose scores have no ends, so that a question more could be anything."""


def interval(made, confidence=0.95):
    """The interval that decides."""
    return made.readings[0].interval(confidence)


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


# --- scores

RECORDS = {
    "dense": {"a": (0.7, 0.69, 0.73), "b": (0.5, 0.5, 0.5), "c": (0.6, 0.55, 0.6)},
    "x": {"a": (0.68, 0.66, 0.69), "b": (0.52, 0.47, 0.53), "c": (0.57, 0.57, 0.58)},
    "y": {"a": (0.6, 0.58, 0.6), "b": (0.5, 0.47, 0.51), "c": (0.58, 0.56, 0.59)},
}
"""By configuration and benchmark: the score that counts, the least and the greatest record."""


def published_study(folder):
    table = []
    for place, (name, scores) in enumerate(RECORDS.items()):
        row = {"series": "" if name == "dense" else name, "label": "dense" if not place else "1"}
        row |= {"position": place, "decomposition": name, "parameter_reduction_percent": place}
        for benchmark, values in scores.items():
            own = dict(zip(("score", "score_least", "score_greatest"), values, strict=True))
            own |= {"benchmark": benchmark, "questions": 100, "questions_available": 100}
            table.append(row | own | Metric.from_config("acc", 0.25).as_record())
    pd.DataFrame(table).to_csv(folder / "published.csv", index=False)
    return PublishedStudy(folder / "published.csv")


X, Y = {"series": "x"}, {"series": "y"}
OF_RECORDS = {
    "loss": ((X,), lambda s: (s["dense"] - s["x"]).mean()),
    "contrast": ((X, Y), lambda s: (s["x"] - s["y"]).mean()),
    "largest_contrast": ((X, Y), lambda s: (s["x"] - s["y"]).max()),
    "smallest_contrast": ((X, Y), lambda s: (s["x"] - s["y"]).min()),
    "mean_absolute_contrast": ((X, Y), lambda s: np.abs(s["x"] - s["y"]).mean()),
}


@pytest.mark.parametrize("name", OF_RECORDS)
def test_a_published_test_set_spans_every_choice_of_records(name, tmp_path):
    """Each of nine scores has three records: the least and the greatest of 3^9 statistics."""
    selectors, statistic = OF_RECORDS[name]
    evidence = Evidence({"theirs": published_study(tmp_path)})
    made = OPERATORS[name](evidence, "theirs", *selectors, ["a", "b", "c"])

    def at(scores):
        rows = np.reshape(scores, (3, 3))
        return 100 * statistic(dict(zip(RECORDS, rows, strict=True)))

    triples = [values for scores in RECORDS.values() for values in scores.values()]
    every = [at(choice) for choice in itertools.product(*triples)]
    assert made.readings[0].name == THIS_TEST_SET
    assert made.value == pytest.approx(at([first for first, *_ in triples]))
    assert interval(made) == pytest.approx((min(every), max(every)))


def test_the_span_of_a_benchmark_that_loses_least_has_its_scores_at_their_ends(tmp_path):
    evidence = Evidence({"theirs": published_study(tmp_path)})
    made = OPERATORS["loss_above_smallest"](evidence, "theirs", X, "b", ["a", "c"])

    def loss(benchmark, dense, other):
        return 100 * (RECORDS["dense"][benchmark][dense] - RECORDS["x"][benchmark][other])

    low = loss("b", 1, 2) - min(loss(name, 2, 1) for name in "ac")
    high = loss("b", 2, 1) - min(loss(name, 1, 2) for name in "ac")
    assert made.value == pytest.approx(loss("b", 0, 0) - min(loss(name, 0, 0) for name in "ac"))
    assert interval(made) == pytest.approx((low, high))


def test_answers_to_one_question_stay_together(tmp_path):
    """What moves all configurations alike leaves the interval of a difference narrow."""
    rng = np.random.default_rng(0)
    shared = rng.normal(0.5, 0.3, 400)
    own = {name: rng.normal(0, 0.01, 400) for name in ("dense", "a")}
    answers = {"dense": shared + own["dense"], "a": shared + own["a"] - 0.1}
    evidence = small_study(tmp_path, answers, metric=GRADES)
    made = OPERATORS["loss"](evidence, "small", {}, ["quiz"])
    low, high = interval(made)
    error = 100 * (own["dense"] - own["a"]).std() / 20
    assert made.value == pytest.approx(10, abs=0.2)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert high - low < 0.1 * (2 * 1.96 * 100 * 0.3 * np.sqrt(2) / 20)  # unpaired
    shuffled = {"dense": shared + own["dense"], "a": rng.permutation(shared + own["a"] - 0.1)}
    (tmp_path / "other").mkdir()
    apart = small_study(tmp_path / "other", shuffled, metric=GRADES)
    assert judge(made.readings[0], 0, None) == SUPPORTED
    low, high = interval(OPERATORS["loss"](apart, "small", {}, ["quiz"]))
    assert high - low > 5  # the same scores, but of other questions


def judged_within_a_point(evidence):
    test = CLAIMS["C7"]["tests"][0] | {"range": [-1, 1], "operator": "loss"}
    test["arguments"] = {"study": "small", "configurations": {}, "benchmarks": ["quiz"]}
    return judge_test(test, measure(test, evidence), 1)


@pytest.mark.parametrize(("questions", "verdict"), [(40, UNDECIDED), (1000, SUPPORTED)])
def test_no_answer_that_differs_is_no_certainty(questions, verdict, tmp_path):
    right = [1.0, 0.0] * (questions // 2)
    result = judged_within_a_point(small_study(tmp_path, {"dense": right, "a": right}))
    assert result["value"] == 0 and result["reason"] == ""
    reach = 300 / questions  # the rule of three
    assert result["interval_95"] == pytest.approx([-reach, reach], rel=0.05)
    assert result["verdict"] == verdict


@pytest.mark.parametrize(("questions", "verdict"), [(40, UNDECIDED), (1000, SUPPORTED)])
def test_no_graded_answer_that_differs_is_none_either(questions, verdict, tmp_path):
    graded = [0.2, 0.7] * (questions // 2)
    result = judged_within_a_point(small_study(tmp_path, {"dense": graded, "a": graded}))
    reach = 300 / questions
    assert result["interval_95"] == pytest.approx([-reach, reach], rel=0.05)
    assert result["verdict"] == verdict


def test_equal_resamples_of_what_is_no_share_are_undecided(tmp_path):
    graded = [0.2, 0.7] * 500
    evidence = small_study(tmp_path, {"dense": graded, "a": graded}, metric=GRADES)
    result = judged_within_a_point(evidence)
    assert result["interval_95"] == pytest.approx([0, 0], abs=1e-9)
    assert result["verdict"] == UNDECIDED
    assert "resamples are equal" in result["reason"]


@pytest.mark.parametrize(("clusters", "is_flagged"), [(9, True), (10, False), (None, False)])
def test_few_clusters_of_questions_are_flagged(clusters, is_flagged, tmp_path):
    study = small_study(tmp_path, {"dense": [1.0, 0.0] * 20, "a": [0.0] * 40}).study("small")
    pd.read_csv(study.path).assign(clusters=clusters).to_csv(study.path, index=False)
    made = OPERATORS["loss"](
        Evidence({"small": AnsweredStudy(study.path, study.folder)}), "small", {}, ["quiz"]
    )
    assert ("quiz has questions that are alike in few clusters" in made.flags) == is_flagged


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


def test_the_largest_and_the_smallest_loss_over_benchmarks(tmp_path):
    evidence = made_evidence(
        CLAIMS["C7"], tmp_path, slope=0.7, winogrande=0.5, truthfulqa_6=5.0, truthfulqa_96=5.0
    )["llama"]
    arguments = CLAIMS["C7"]["tests"][0]["arguments"]
    # By hand: 0.7 × 9, half of it on WinoGrande, 5 on TruthfulQA.
    assert OPERATORS["largest_contrast"](evidence, **arguments).value == pytest.approx(6.3)
    assert OPERATORS["smallest_contrast"](evidence, **arguments).value == pytest.approx(3.15)


def series_of(answers):
    """Labels of configurations that are named by a letter for the series, and a number."""
    made = {name: {"series": name[0], "label": name[1:]} for name in answers}
    return made | {"dense": {"series": "", "label": "dense"}}


def variation(evidence, operator="mean_absolute_contrast"):
    return OPERATORS[operator](evidence, "small", {"series": "a"}, {"series": "b"}, ["quiz"])


def test_the_variation_is_a_mean_of_absolute_differences(tmp_path):
    base = np.random.default_rng(0).normal(0.6, 1e-5, 40)
    # By hand, in points: 3, −4 and 0.5. Their mean is near nothing, their root mean square 2.9.
    falls = {"a1": 0.13, "b1": 0.10, "a2": 0.10, "b2": 0.14, "a3": 0.2, "b3": 0.195}
    answers = {"dense": base} | {name: base - fall for name, fall in falls.items()}
    rng = np.random.default_rng(1)
    answers = {name: values + rng.normal(0, 1e-5, 40) for name, values in answers.items()}
    evidence = small_study(tmp_path, answers, series_of(answers), metric=GRADES)
    made = variation(evidence)
    assert made.value == pytest.approx((3 + 4 + 0.5) / 3, abs=0.01)
    assert interval(made) == pytest.approx((made.value, made.value), abs=0.01)
    made = variation(evidence, "loss_beyond_contrast")
    assert made.value == pytest.approx((10 + 14 + 19.5) / 3 - 2.5, abs=0.01)
    assert interval(made) == pytest.approx((made.value, made.value), abs=0.01)


def test_lists_that_only_guess_do_not_dilute_the_variation(tmp_path):
    rng = np.random.default_rng(0)
    right = {"dense": 0.8, "a1": 0.5, "b1": 0.6, "a2": 0.25, "b2": 0.25, "a3": 0.25, "b3": 0.25}
    answers = {name: share + rng.normal(0, 0.01, 400) for name, share in right.items()}
    answers |= {name: values - values.mean() + right[name] for name, values in answers.items()}
    evidence = small_study(tmp_path, answers, series_of(answers), chance=0.25)
    made = variation(evidence)
    assert made.value == pytest.approx(10) and not made.at_chance
    assert not any("a2" in path or "b3" in path for path in made.evidence)
    assert variation(evidence, "loss_beyond_contrast").value == pytest.approx(20 - 10)
    guesses = {name: values for name, values in answers.items() if name not in ("a1", "b1")}
    (tmp_path / "floor").mkdir()
    evidence = small_study(tmp_path / "floor", guesses, series_of(guesses), chance=0.25)
    made = variation(evidence)
    assert made.at_chance and made.value == pytest.approx(0, abs=1e-9)
    assert made.questions == 400


def noisy(rng, true, questions):
    """Replicates of differences that were seen with the noise of so many questions."""
    error = 60 / np.sqrt(questions)
    seen = true + error * rng.normal(size=(1, len(true)))
    return Contrasts(seen, seen + error * rng.normal(size=(400, len(true))), False)


@pytest.mark.parametrize("questions", [40, 4000])
@pytest.mark.parametrize("true", [np.zeros(20), np.tile([2.0, -1.0], 10), np.full(20, 1.5)])
def test_neither_end_of_the_variation_leans_on_noise(true, questions):
    """The truth lies outside no more often than the level says, at either end."""
    rng = np.random.default_rng(5)
    nothing = Contrasts(np.zeros((1, 1)), np.zeros((400, 1)), False)
    below = above = 0
    for _ in range(200):
        made = _with_absolute(nothing, noisy(rng, true, questions), 1, least=0.0)
        low, high = interval(made)
        below += high < np.abs(true).mean()
        above += low > np.abs(true).mean()
        assert low <= made.value <= high
    assert below / 200 <= 0.045 and above / 200 <= 0.045


def test_what_noise_adds_to_the_variation_is_taken_off():
    """Of equal ranks half of it or more is gone; of ranks that do differ hardly anything is."""
    rng = np.random.default_rng(6)
    nothing = Contrasts(np.zeros((1, 1)), np.zeros((400, 1)), False)

    def seen_and_left(true, sign=1):
        made = [_with_absolute(nothing, noisy(rng, true, 40), sign) for _ in range(200)]
        return np.mean([[own.value, own.settled] for own in made], axis=0)

    seen, left = seen_and_left(np.zeros(20))
    assert seen == pytest.approx(60 / np.sqrt(40) * np.sqrt(2 / np.pi), rel=0.05)  # E|ε|
    assert left < seen / 2
    assert seen_and_left(np.full(20, 30.0)) == pytest.approx(30, rel=0.1)
    assert seen_and_left(np.full(20, 30.0), sign=-1) == pytest.approx(-30, rel=0.1)


def test_forty_questions_do_not_contradict_equal_ranks(tmp_path):
    """Equal series of right or wrong answers differ by points, none of which is real."""
    rng = np.random.default_rng(3)
    names = [f"{series}{index}" for series in "ab" for index in range(10)]
    answers = {name: rng.integers(0, 2, 40).astype(float) for name in ["dense", *names]}
    made = variation(small_study(tmp_path, answers, series_of(answers)))
    raw = [100 * abs(answers[f"a{i}"].mean() - answers[f"b{i}"].mean()) for i in range(10)]
    assert made.value == pytest.approx(np.mean(raw)) and made.value > 6
    assert interval(made)[0] == 0
    assert judge(made.readings[0], 0, 1.5) == UNDECIDED


def test_series_that_do_not_pair_are_an_error(tmp_path):
    values = np.random.default_rng(0).normal(size=20)
    evidence = small_study(tmp_path, {"dense": values, "a": values, "b": values})
    with pytest.raises(LowrankError, match="do not pair"):
        OPERATORS["mean_absolute_contrast"](
            evidence, "small", {"labels": ["a"]}, {"labels": ["b"]}, ["quiz"]
        )


def test_what_only_guesses_is_flagged_and_supports_trivially(tmp_path):
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
        "at_chance": "trivial",
        "arguments": {
            "study": "small",
            "first": {"labels": ["a"]},
            "second": {"labels": ["b"]},
            "benchmarks": ["quiz"],
        },
    }
    result = judge_test(test, measure(test, evidence), 1)
    assert (result["verdict"], result["reason"]) == (TRIVIAL, "")
    assert result["flags"] == ["at chance"]
    narrow = judge_test(test | {"range": [-1, 1]}, measure(test, evidence), 1)
    assert (narrow["verdict"], narrow["reason"]) == (UNDECIDED, "all at chance")
    free = judge_test(test | {"at_chance": "judged"}, measure(test, evidence), 1)
    assert (free["verdict"], free["flags"]) == (SUPPORTED, ["at chance"])
    # One configuration above chance is a signal.
    answers["a"] = (rng.random(400) < 0.4).astype(float)
    (tmp_path / "other").mkdir()
    evidence = small_study(tmp_path / "other", answers, chance=0.25)
    assert judge_test(test, measure(test, evidence), 1)["flags"] == []


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


# --- costs


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
    # The lines are straight: on these workloads nothing is in doubt, on others the mean is.
    assert interval(made) == pytest.approx((0.4, 0.4))
    reach = scipy.stats.t.ppf(0.975, 2) * 0.1 / np.sqrt(3)
    assert made.readings[1].interval(0.95) == pytest.approx((0.4 - reach, 0.4 + reach))
    assert made.device == "Profiled CPU"


def test_the_errors_of_the_lines_are_those_of_their_mean(tmp_path):
    """Welch and Satterthwaite by hand: two lines of five points, one of them uneven."""
    x, rng = [0, 10, 20, 30, 40], np.random.default_rng(0)
    ratios = {
        name: 1 - 0.005 * np.array(x) + rng.normal(0, scale, 5)
        for name, scale in (("a", 0.01), ("b", 0.001))
    }
    made = OPERATORS["efficiency_slope"](small_profiles(tmp_path, ratios, x), "latency")
    lines = [scipy.stats.linregress(x, 100 * (1 - ratio)) for ratio in ratios.values()]
    variances = np.array([line.stderr**2 / 4 for line in lines])
    freedom = variances.sum() ** 2 / (variances**2 / 3).sum()
    reach = scipy.stats.t.ppf(0.975, freedom) * np.sqrt(variances.sum())
    mean = np.mean([line.slope for line in lines])
    assert interval(made) == pytest.approx((mean - reach, mean + reach))


def test_more_configurations_do_not_make_few_workloads_many(tmp_path):
    """A dozen points on each of two lines are two slopes, not two dozen points."""
    x = np.arange(0, 96, 8)
    ratios = {"a": 1 - 0.3 * x / 100, "b": 1 - 0.7 * x / 100}
    made = OPERATORS["efficiency_slope"](small_profiles(tmp_path, ratios, x), "latency")
    low, high = made.readings[1].interval(0.95)
    assert low < 0 and high > 1  # t of one degree of freedom: 0.5 ± 12.7 × 0.2


def test_one_workload_has_the_interval_of_its_line(tmp_path):
    x, y = [0, 10, 20, 30], [1.0, 0.96, 0.89, 0.86]
    evidence = small_profiles(tmp_path, {"a": y}, x)
    made = OPERATORS["efficiency_slope"](evidence, "latency")
    line = scipy.stats.linregress(x, 100 * (1 - np.array(y)))
    reach = scipy.stats.t.ppf(0.975, 2) * line.stderr
    assert made.value == pytest.approx(line.slope)
    assert interval(made) == pytest.approx((line.slope - reach, line.slope + reach))


def test_fixed_workloads_are_no_benchmarks(tmp_path):
    ratios = {"a": [1, 0.9, 0.8, 0.7], "b": [1, 0.9, 0.8, 0.71], "decode": [1, 1, 1, 1]}
    evidence = small_profiles(tmp_path, ratios, [0, 10, 20, 30])
    evidence.benchmark_workloads = ["a", "b"]
    assert OPERATORS["efficiency_slope"](evidence, "latency").value > 0.9
    assert OPERATORS["efficiency_slope"](evidence, "latency", "all").value < 0.7
    evidence.benchmark_workloads = ["c"]
    with pytest.raises(NotTestable, match="latency of no benchmark's requests was measured"):
        OPERATORS["efficiency_slope"](evidence, "latency")


def test_a_gpu_counts_at_the_largest_batch_alone(tmp_path):
    """32 rows leave a GPU idle; a CPU is busy with one."""
    x = [0, 10, 20, 30]
    ratios = {"a": [1, 0.9, 0.8, 0.7], "b": [1, 0.95, 0.9, 0.85]}
    evidence = small_profiles(tmp_path, ratios, x, gpus=1)
    with pytest.raises(NotTestable, match="latency was not measured at the largest batch"):
        OPERATORS["efficiency_slope"](evidence, "latency")
    table = pd.read_csv(evidence.profiles)
    table.loc[table["workload"] == "b", "batch_rule"] = "largest"
    table.to_csv(evidence.profiles, index=False)
    made = OPERATORS["efficiency_slope"](evidence, "latency")
    assert made.value == pytest.approx(0.5)
    assert made.flags == ("a is left out: its batch is not the largest",)
    small_profiles(tmp_path, ratios, x)
    assert OPERATORS["efficiency_slope"](evidence, "latency").value == pytest.approx(0.75)


def test_a_batch_at_the_limit_of_its_search_counts_for_all_but_memory(tmp_path):
    """More rows might fit: a GPU is as busy, and weighs its weights against fewer activations."""
    doubt = "the search for a batch stopped at its limit of 16 rows"
    ratios = {"a": [1, 0.95, 0.9, 0.85]}
    changes = {"gpus": 1, "batch_rule": "capped", "doubts": doubt}
    evidence = small_profiles(tmp_path, ratios, [0, 10, 20, 30], **changes)
    made = OPERATORS["efficiency_slope"](evidence, "latency")
    assert made.value == pytest.approx(0.5) and made.flags == (doubt,)
    table = pd.read_csv(evidence.profiles)
    table.assign(metric="memory").to_csv(evidence.profiles, index=False)
    with pytest.raises(NotTestable, match="memory was not measured at the largest batch"):
        OPERATORS["efficiency_slope"](evidence, "memory")


def test_prefill_stands_for_requests_that_were_not_at_hand(tmp_path):
    """On a machine without data; decode does not, and what stands in is flagged."""
    x = [0, 10, 20, 30]
    ratios = {"prefill": [1, 0.9, 0.8, 0.7], "decode": [1, 1, 1, 1]}
    evidence = small_profiles(tmp_path, ratios, x, gpus=1, doubts="busy")
    evidence.benchmark_workloads = ["ARC-Easy"]
    with pytest.raises(NotTestable, match="latency of no benchmark's requests was measured"):
        OPERATORS["efficiency_slope"](evidence, "latency")
    table = pd.read_csv(evidence.profiles).assign(batch_rule="largest")
    table["phase"] = table["workload"]
    table.to_csv(evidence.profiles, index=False)
    made = OPERATORS["efficiency_slope"](evidence, "latency")
    assert made.value == pytest.approx(1)
    assert made.flags == ("busy", STAND_IN)
    evidence.benchmark_workloads = ["decode"]  # here they were at hand
    made = OPERATORS["efficiency_slope"](evidence, "latency")
    assert made.value == pytest.approx(0) and made.flags == ("busy",)


def test_the_spread_is_that_of_the_slopes(tmp_path):
    x = [0, 10, 20, 30]
    slopes = {"a": 0.4, "b": 0.5, "c": 0.6}
    ratios = {name: 1 - slope * np.array(x) / 100 for name, slope in slopes.items()}
    made = OPERATORS["spread_over_workloads"](small_profiles(tmp_path, ratios, x), "latency")
    assert made.value == pytest.approx(100 * 0.1 / 0.5)
    assert interval(made) == pytest.approx((20, 20))  # straight lines have no error
    ends = np.sqrt(2 / scipy.stats.chi2.ppf([0.975, 0.025], 2))
    assert made.readings[1].interval(0.95) == pytest.approx(tuple(20 * ends))
    with pytest.raises(NotTestable, match="fewer than three workloads"):
        two = small_profiles(tmp_path, {name: ratios[name] for name in "ab"}, x)
        OPERATORS["spread_over_workloads"](two, "latency")


@pytest.mark.parametrize("spread", [0.0, 0.05])
def test_the_spread_of_slopes_is_not_their_error(spread, tmp_path):
    """Noisy lines: the true spread lies outside no more often than the level says."""
    rng, x, outside = np.random.default_rng(0), np.arange(0, 96, 9), 0
    slopes = 0.5 + spread * np.array([-1, 0, 1])
    for _ in range(40):
        noise = rng.normal(0, 0.02, (3, len(x)))
        ratios = dict(zip("abc", 1 - slopes[:, None] * x / 100 + noise, strict=True))
        made = OPERATORS["spread_over_workloads"](small_profiles(tmp_path, ratios, x), "latency")
        low, high = interval(made)
        outside += not low <= 100 * spread / 0.5 <= high
    assert outside <= 5


def test_linearity_is_that_of_the_least_straight_line(tmp_path):
    x = [0, 10, 20, 30, 40]
    ratios = {"a": [1, 0.9, 0.4, 0.4, 0.35], "b": [1, 0.91, 0.79, 0.71, 0.6]}
    made = OPERATORS["linearity"](small_profiles(tmp_path, ratios, x), "latency")
    r2 = [np.corrcoef(x, values)[0, 1] ** 2 for values in ratios.values()]
    assert made.value == pytest.approx(min(r2))
    # Fisher's interval by hand; the upper end at half the level, since there are two lines.
    fisher, error = np.arctanh(np.sqrt(r2)), 1 / np.sqrt(2)
    low, high = (
        np.tanh(np.maximum(fisher + z * error, 0)).min() ** 2
        for z in scipy.stats.norm.ppf([0.025, 1 - 0.0125])
    )
    assert interval(made) == pytest.approx((low, high))


def test_what_measurements_scatter_is_no_bend(tmp_path):
    """The points of a bent line: certain, or as far off as their intervals say they can be."""
    x = np.arange(0, 96, 9)
    bent = {"a": 1 - 0.5 * x / 100 + 0.2 * (np.arange(len(x)) % 2)}
    certain = OPERATORS["linearity"](small_profiles(tmp_path, bent, x), "latency")
    assert interval(certain)[1] < 0.95
    ends = {"ratio_low": 0.5, "ratio_high": 1.5}
    vague = OPERATORS["linearity"](small_profiles(tmp_path, bent, x, **ends), "latency")
    assert vague.value == certain.value and interval(vague)[1] == pytest.approx(1)


def test_a_change_and_a_value_at_one_configuration(tmp_path):
    ends = {"ratio_low": 0.90, "ratio_high": 1.00, "rounds": 7}
    ratios = {"a": [1, 0.96], "b": [1, 0.94]}
    evidence = small_profiles(tmp_path, ratios, [0, 10], value=250.0, **ends)
    values = np.random.default_rng(0).normal(size=20)
    answers = {"dense": values, "c10": values, "c20": values}
    evidence.studies = small_study(tmp_path, answers).studies
    made = OPERATORS["efficiency_change"](evidence, "latency", "small", {"labels": ["c10"]})
    assert made.value == pytest.approx(5)
    # The interval of a ratio is Student's t of its logarithm over rounds.
    error = np.log(1.00 / 0.90) / 2 / scipy.stats.t.ppf(0.975, 6)
    errors = 100 * np.array([0.96, 0.94]) * error / 2
    freedom = (errors**2).sum() ** 2 / (errors**4 / 6).sum()
    reach = scipy.stats.t.ppf(0.975, freedom) * np.sqrt((errors**2).sum())
    assert interval(made) == pytest.approx((5 - reach, 5 + reach))
    reach = scipy.stats.t.ppf(0.975, 1) * np.sqrt(2) / np.sqrt(2)
    assert made.readings[1].interval(0.95) == pytest.approx((5 - reach, 5 + reach))
    made = OPERATORS["measurement"](evidence, "latency", "small", {"labels": ["c10"]})
    assert made.value == 250.0
    assert made.readings[1].undecidable  # two equal values say nothing of a third
    with pytest.raises(NotTestable, match="not measured on these configurations of small"):
        OPERATORS["efficiency_change"](evidence, "latency", "small", {"labels": ["c20"]})


def test_energy_that_was_not_measured_is_not_testable_with_the_machine_s_reason(tmp_path):
    evidence = small_profiles(
        tmp_path, {"a": [None] * 5}, range(5), metric="energy", reason="no RAPL"
    )
    with pytest.raises(NotTestable, match="no RAPL"):
        OPERATORS["efficiency_slope"](evidence, "energy")


UNEQUAL = {"a": [1, 0.9, 0.8, 0.7], "b": [1, None, 0.5, None], "c": [1, 0.7, None, None]}


def test_a_workload_without_a_line_is_left_out_and_named(tmp_path):
    evidence = small_profiles(tmp_path, UNEQUAL, [0, 10, 20, 30], doubts="busy")
    for name in ("efficiency_slope", "linearity"):
        made = OPERATORS[name](evidence, "latency")
        assert made.value == pytest.approx(1)
        assert np.isfinite(interval(made)).all()
        assert made.flags == (
            "b is left out: a line needs 3 configurations, here: 1",
            "busy",
            "c is left out: a line needs 3 configurations, here: 1",
        )


def test_without_any_line_nothing_is_testable(tmp_path):
    """Three configurations in all, but on no workload."""
    evidence = small_profiles(tmp_path, {"b": UNEQUAL["b"], "c": UNEQUAL["c"]}, [0, 10, 20, 30])
    for name in ("efficiency_slope", "linearity", "spread_over_workloads"):
        with pytest.raises(NotTestable, match="a line needs 3 configurations; here: 1"):
            OPERATORS[name](evidence, "latency")
    evidence = small_profiles(tmp_path, {"a": [0.9, 0.8, 0.7]}, [10, 10.0, 10])
    table = pd.read_csv(evidence.profiles).assign(decomposition=["c1", "c2", "c3"])
    table.to_csv(evidence.profiles, index=False)
    with pytest.raises(NotTestable, match="configurations of two sizes"):
        OPERATORS["efficiency_slope"](evidence, "latency")


def test_a_change_counts_the_workloads_that_have_all_its_configurations(tmp_path):
    evidence = small_profiles(tmp_path, UNEQUAL, [0, 10, 20, 30])
    values = np.random.default_rng(0).normal(size=20)
    answers = {"dense": values, "c10": values, "c20": values}
    evidence.studies = small_study(tmp_path, answers).studies
    made = OPERATORS["efficiency_change"](evidence, "latency", "small", {"labels": ["c10"]})
    assert made.value == pytest.approx(20)
    reason = "latency was not measured on these configurations of small"
    assert made.flags == (f"b is left out: {reason}",)
    made = OPERATORS["efficiency_change"](evidence, "latency", "small", {})
    assert made.value == pytest.approx(15)
    assert made.flags == (f"b is left out: {reason}", f"c is left out: {reason}")


def test_one_run_each_has_the_error_that_its_line_leaves(tmp_path):
    x, y = np.array([0, 10, 20, 30, 40]), np.array([1.0, 0.96, 0.89, 0.86, 0.79])
    ratios = {"a": y, "b": [1, 0.9, None, None, None]}
    evidence = small_profiles(tmp_path, ratios, x, rounds=1)
    values = np.random.default_rng(0).normal(size=20)
    evidence.studies = small_study(tmp_path, {"dense": values, "c10": values}).studies
    change = (evidence, "latency", "small", {"labels": ["c10"]})
    made = OPERATORS["efficiency_change"](*change)
    assert made.value == pytest.approx(4)
    error = 100 * np.sqrt(np.polyfit(x, y, 1, full=True)[1][0] / 3)
    reach = scipy.stats.t.ppf(0.975, 3) * error
    assert interval(made) == pytest.approx((4 - reach, 4 + reach))
    (flag,) = made.flags
    assert flag.startswith("b is left out: one run each has no known error without a line")
    # Rounds tell scatter from a bend. One run each cannot: what the line leaves stays a bend.
    once = interval(OPERATORS["linearity"](evidence, "latency"))
    assert once == interval(
        OPERATORS["linearity"](small_profiles(tmp_path, {"a": y}, x), "latency")
    )
    small_profiles(tmp_path, {"b": ratios["b"]}, x, rounds=1)
    with pytest.raises(NotTestable, match="no known error"):
        OPERATORS["efficiency_change"](*change)


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
    low, high = interval(lost)
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


def cut_study(folder, increases, spread, windows=40, **settings):
    """Cuts in percent, out of order, each with its increase of perplexity in percent."""
    rng = np.random.default_rng(0)
    dense = rng.normal(3.0, 0.3, windows)
    answers = {"dense": dense}
    for cut, percent in increases.items():
        noise = rng.normal(0, spread, windows)
        answers[f"{cut}%"] = dense + np.log1p(percent / 100) + noise - noise.mean()
    settings = {"metric": "token_perplexity", "available": 100} | settings
    return small_study(folder, answers, **settings)


def largest_cut(evidence, at_most=1):
    return OPERATORS["largest_cut"](evidence, "small", {}, "quiz", at_most)


@pytest.mark.parametrize(
    ("increases", "value"),
    [
        ({50: 9.0, 10: 0.2, 39.58: 3.0, 20: 0.8}, 20),
        ({50: 0.9, 10: 0.2, 39.58: 0.7, 20: 0.5}, 50),
        ({50: 9.0, 10: 1.2, 39.58: 3.0, 20: 2.0}, 0),
        ({50: 0.5, 10: 0.2, 39.58: 3.0, 20: 0.8}, 20),  # what lies beyond a cut that costs more
    ],
)
def test_the_largest_cut_is_the_last_before_one_that_costs_more(increases, value, tmp_path):
    made = largest_cut(cut_study(tmp_path, increases, spread=1e-5))
    assert made.value == value and interval(made) == (value, value)
    assert made.readings[0].undecidable == ""
    assert made.configurations[:2] == ("dense", "10%")  # in the order of the cuts
    assert judge(made.readings[0], 39.58, 100) == (SUPPORTED if value == 50 else CONTRADICTED)


def test_the_largest_cut_may_be_any_whose_increase_nobody_can_tell(tmp_path):
    """Paired by window: the intervals are those of the differences, which are wide here."""
    increases = {10: -0.5, 20: 0.9, 39.58: 1.1, 50: 30.0}
    made = largest_cut(cut_study(tmp_path, increases, spread=0.01))
    assert made.value == 20 and interval(made) == (10, 39.58)
    assert judge(made.readings[0], 39.58, 100) == UNDECIDED
    shown = [largest_cut(cut_study(tmp_path, increases, 0.01), at_most).value for at_most in (0, 2)]
    assert shown == [10, 39.58]


def test_the_largest_cut_errs_no_more_often_than_its_level(tmp_path):
    """Three cuts just inside the edge, one beyond it: neither end passes the truth too often."""
    cuts, true, error = [10.0, 20.0, 39.58, 50.0], np.array([0.99, 0.99, 0.99, 1.5]), 0.2

    class Noisy(AnsweredStudy):
        def log_contrasts(self, weights_CS, benchmark):
            seen_S = true + error * rng.normal(size=4)
            seen_RS = seen_S + error * rng.normal(size=(400, 4))
            return Contrasts(np.log1p(seen_S[None] / 100), np.log1p(seen_RS / 100), False)

    rng = np.random.default_rng(1)
    study = cut_study(tmp_path, dict.fromkeys(cuts, 1.0), spread=1e-3).study("small")
    evidence = Evidence({"small": Noisy(study.path, study.folder)})
    ends = np.array([interval(largest_cut(evidence)) for _ in range(400)])
    assert (ends[:, 0] > 39.58).mean() <= 0.045 and (ends[:, 1] < 39.58).mean() <= 0.045
    assert (ends[:, 0] <= ends[:, 1]).all()


def test_the_largest_cut_on_a_whole_text_has_no_error_of_sampling(tmp_path):
    increases = {10: 0.2, 20: 0.9, 39.58: 1.1}
    made = largest_cut(cut_study(tmp_path, increases, spread=0.01, available=40))
    assert made.readings[0].name == THIS_TEST_SET and interval(made) == (20, 20)
    assert made.readings[1].interval(0.95) == (10, 39.58)


def test_what_is_no_cut_or_no_perplexity_is_said(tmp_path):
    dense = np.random.default_rng(0).normal(3.0, 0.3, 20)
    named = small_study(tmp_path, {"dense": dense, "few": dense}, metric="token_perplexity")
    with pytest.raises(LowrankError, match="the label 'few' is no percentage"):
        largest_cut(named)
    with pytest.raises(NotTestable, match="the score of quiz is no perplexity"):
        (tmp_path / "shares").mkdir()
        largest_cut(cut_study(tmp_path / "shares", {10: 1.0}, 0.01, metric="acc"))
    (tmp_path / "equal").mkdir()
    equal = largest_cut(cut_study(tmp_path / "equal", {10: 0.0, 20: 5.0}, spread=0))
    assert equal.value == 10 and "resamples are equal" in equal.readings[0].undecidable
