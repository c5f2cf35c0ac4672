import numpy as np
import pandas as pd
import pytest
import scipy.stats
from lowrank.analyse.accuracy import collect_accuracy
from lowrank.analyse.answers import resample
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, write_json
from lowrank.base.metric import Metric
from lowrank.base.names import AGGREGATE
from lowrank.base.statistics import mean_interval
from made_evaluations import write_result, write_scores
from sklearn.metrics import average_precision_score

RNG = np.random.default_rng(0)
DENSE = {"a": RNG.integers(0, 2, 60).astype(float), "b": RNG.uniform(0, 1, 40)}
OTHER = {"a": np.where(RNG.uniform(size=60) < 0.3, 0.0, DENSE["a"]), "b": DENSE["b"] * 0.8}
ACCURACY, RANKING = (Metric.from_config(name).as_record() for name in ("acc", "average_precision"))
ROW = {"series": "s", "label": "x", "position": 2, "method": "tucker", "rank": 1}


def write(folder, name, benchmark, values, companion=None, questions=None, score=None):
    questions = np.arange(len(values)) if questions is None else questions
    frame = {"task": "t", "question": questions, "value": values, "log_probability": companion}
    write_scores(folder, name, benchmark, frame)
    result = {
        "score": {
            "metric": "acc",
            "value": float(np.mean(values) if score is None else score),
            "interval_95": list(mean_interval(np.nan_to_num(values, posinf=0))),
        },
        "questions": {"asked": len(values), "available": 1000},
    }
    reduction = 0.0 if name == "dense" else 10.0
    shared = {"model": "m", "parameter_reduction_percent": reduction}
    write_result(folder, name, benchmark, result, **shared)


def described(names, metric=ACCURACY):
    return {name: {"label": name.upper(), "metric": metric} for name in names}


def collect(folder, names=("a", "b"), metric=ACCURACY):
    rows = [ROW | {"decomposition": "other"}]
    collect_accuracy(rows, described(names, metric), folder, folder / "out.csv")
    return pd.read_csv(folder / "out.csv", keep_default_na=False, na_values=[""])


@pytest.fixture
def folder(tmp_path):
    for name, values in (("dense", DENSE), ("other", OTHER)):
        write(tmp_path, name, "a", values["a"], np.log(0.1 + 0.8 * values["a"]))
        write(tmp_path, name, "b", values["b"])
    return tmp_path


def test_one_row_a_configuration_and_benchmark(folder):
    table = collect(folder).set_index(["label", "benchmark"])
    assert len(table) == 6
    assert table.loc[("x", "a"), "score"] == pytest.approx(OTHER["a"].mean(), abs=1e-6)
    difference = OTHER["a"].mean() - DENSE["a"].mean()
    assert table.loc[("x", "a"), "score_difference"] == pytest.approx(difference, abs=1e-6)
    assert table.loc[("dense", "a"), ["score_difference_low", "score_difference_high"]].eq(0).all()
    both = (OTHER["a"].mean() + OTHER["b"].mean()) / 2
    assert table.loc[("x", AGGREGATE), "score"] == pytest.approx(both, abs=1e-6)
    assert table.loc[("x", AGGREGATE), "questions"] == 100
    low, high = mean_interval(OTHER["a"])
    assert table.loc[("x", "a"), "score_low"] == pytest.approx(low, abs=1e-6)
    assert table.loc[("x", "a"), "score_high"] == pytest.approx(high, abs=1e-6)


def test_paired_interval_is_scipys_and_narrower_than_unpaired(folder):
    # A metric without ends: a share would have the noise of one question more.
    grade = {"name": "grade", "label": "Grade", "direction": "higher"}
    metric = Metric.from_config(grade).as_record()
    row = collect(folder, metric=metric).set_index(["label", "benchmark"]).loc[("x", "b")]
    reference = scipy.stats.ttest_rel(OTHER["b"], DENSE["b"]).confidence_interval()
    ends = row["score_difference_low"], row["score_difference_high"]
    assert ends == pytest.approx(tuple(reference), abs=0.003)
    unpaired = np.sqrt(OTHER["b"].var() / 40 + DENSE["b"].var() / 40) * 2 * 1.96
    assert np.ptp(ends) < 0.5 * unpaired


@pytest.mark.parametrize("lost", [1.0, 0.5])
def test_one_graded_answer_decides_nothing(folder, lost):
    """Of 200 questions, most of them right or wrong, one is answered differently."""
    values = np.append(RNG.integers(0, 2, 198).astype(float), [0.3, 1.0])
    write(folder, "dense", "b", values)
    write(folder, "other", "b", np.append(values[:-1], 1.0 - lost))
    row = collect(folder).set_index(["label", "benchmark"]).loc[("x", "b")]
    assert row["score_difference"] == pytest.approx(-lost / 200, abs=1e-6)
    assert row["score_difference_low"] < -lost / 200 < 0 < row["score_difference_high"]


def test_two_that_answer_alike_may_still_differ(folder):
    write(folder, "other", "a", DENSE["a"], np.log(0.1 + 0.8 * DENSE["a"]))
    row = collect(folder).set_index(["label", "benchmark"]).loc[("x", "a")]
    assert row["score_difference"] == 0
    ends = row["score_difference_low"], row["score_difference_high"]
    assert ends == pytest.approx((-3 / 60, 3 / 60), rel=0.05)
    # The log-probability tells of each question: there is nothing to allow for.
    assert row["log_probability_difference_low"] == row["log_probability_difference_high"] == 0


def test_companion_metric_where_there_is_one(folder):
    table = collect(folder).set_index(["label", "benchmark"])
    assert table.loc[("x", "a"), "log_probability_difference"] < 0
    assert pd.isna(table.loc[("x", "b"), "log_probability"])
    # The aggregate of the companion is over the benchmarks that have one.
    assert table.loc[("x", AGGREGATE), "log_probability"] == pytest.approx(
        table.loc[("x", "a"), "log_probability"]
    )


def test_the_results_say_what_a_guess_scores_and_what_else_answers_are_worth(folder):
    for name, value in (("dense", 0.75), ("other", 0.5)):
        result = read_json(folder / f"{name}.json")["benchmarks"]["a"]
        result["score"]["chance"] = 0.245
        write_result(folder, name, "a", result | {"beside": {"acc_norm": {"value": value}}})
    table = collect(folder, metric=ACCURACY | {"chance": 0.1}).set_index(["label", "benchmark"])
    assert table.loc[("x", "a"), ["chance", "beside_acc_norm"]].tolist() == [0.245, 0.5]
    assert table.loc[("dense", "a"), "beside_acc_norm"] == 0.75
    # Results of another benchmark say neither: the entry's own chance level holds.
    assert table.loc[("x", "b"), "chance"] == 0.1
    assert pd.isna(table.loc[("x", "b"), "beside_acc_norm"])


def test_a_companion_that_one_configuration_lacks_does_not_vanish(folder):
    """Not from the study, without a word: one question of one configuration has no number."""
    companion = np.zeros(60)
    for broken in (np.nan, np.inf, -np.inf):
        companion[7] = broken
        write(folder, "other", "a", OTHER["a"], companion)
        message = r"other\.csv: a question of a has no finite log_prob.*; delete it and other\.json"
        with pytest.raises(LowrankError, match=message):
            collect(folder)
    write(folder, "other", "a", OTHER["a"])
    with pytest.raises(LowrankError, match=r"other\.csv: a question of a has no finite log_prob"):
        collect(folder)
    # Questions that have none in any configuration: the benchmark has no companion.
    companion[7] = np.nan
    for name, values in (("dense", DENSE), ("other", OTHER)):
        write(folder, name, "a", values["a"], companion)
    assert "log_probability" not in collect(folder)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_an_answer_without_a_score_does_not_leave_out_its_benchmark(folder, broken):
    values = OTHER["a"].copy()
    values[3] = broken
    write_scores(folder, "other", "a", {"task": "t", "question": range(60), "value": values})
    with pytest.raises(LowrankError, match=r"other\.csv: a question of a has no finite value"):
        collect(folder)


def test_other_questions_are_no_pair(folder):
    write(folder, "other", "a", OTHER["a"], np.zeros(60), questions=np.arange(60) + 1)
    with pytest.raises(LowrankError, match="other and dense did not answer the same questions"):
        collect(folder)


def test_a_changed_result_or_answer_is_caught_and_both_files_are_named(folder):
    score = float(np.mean(OTHER["b"]))
    write(folder, "other", "b", OTHER["b"], score=score + 2e-6)
    with pytest.raises(
        LowrankError, match=r"other\.json has the score .* on b, the answers in other\.csv give"
    ):
        collect(folder)
    write(folder, "other", "b", OTHER["b"], score=score + 5e-7)
    collect(folder)
    values = DENSE["a"].copy()
    values[3] = 1 - values[3]
    write_scores(folder, "dense", "a", {"task": "t", "question": range(60), "value": values})
    with pytest.raises(LowrankError, match=r"dense\.json has the score .* on a, .* delete both"):
        collect(folder)


def test_benchmarks_of_one_size_are_resampled_apart_and_configurations_together(folder):
    for name in ("dense", "other"):
        for benchmark in ("first", "second"):
            write(folder, name, benchmark, DENSE["b"])
    names, metric = ["dense", "other"], Metric.from_record(ACCURACY)
    first_RC, second_RC = (
        resample(folder, names, name, metric).replicates() for name in ("first", "second")
    )
    assert abs(np.corrcoef(first_RC[:, 0], second_RC[:, 0])[0, 1]) < 0.1
    assert np.allclose(first_RC[:, 0], first_RC[:, 1], atol=1e-12)
    assert np.array_equal(first_RC, resample(folder, names, "first", metric).replicates())
    # Averaged over two independent benchmarks the error falls by √2, which it would not if
    # both drew the same questions.
    spread = ((first_RC + second_RC) / 2)[:, 0].std()
    assert spread == pytest.approx(first_RC[:, 0].std() / np.sqrt(2), rel=0.1)


def test_rankings_of_one_size_are_resampled_apart(folder):
    labels = RNG.integers(0, 2, 40)
    frame = {"task": "t", "question": np.arange(40), "value": RNG.normal(size=40), "label": labels}
    for benchmark in ("first", "second"):
        write_scores(folder, "dense", benchmark, frame)
    ranking = Metric.from_record(RANKING)
    first_RC, second_RC = (
        resample(folder, ["dense"], name, ranking).replicates() for name in ("first", "second")
    )
    assert abs(np.corrcoef(first_RC[:, 0], second_RC[:, 0])[0, 1]) < 0.1


def test_control_is_compared_with_its_twin(folder):
    better = np.where(RNG.uniform(size=60) < 0.5, DENSE["a"], OTHER["a"])
    write(folder, "without", "a", better, np.zeros(60))
    write(folder, "without", "b", DENSE["b"])
    rows = [ROW | {"decomposition": "other"}]
    rows += [ROW | {"series": "left out", "method": "drop", "decomposition": "without"}]
    collect_accuracy(rows, described("ab"), folder, folder / "out.csv")
    table = pd.read_csv(folder / "out.csv").set_index(["series", "benchmark"])
    row = table.loc[("left out", "a")]
    expected = better.mean() - OTHER["a"].mean()
    assert row["score_over_decomposed"] == pytest.approx(expected, abs=1e-6)
    assert row["score_over_decomposed_low"] <= expected <= row["score_over_decomposed_high"]
    assert table.loc[("s", "a")]["score_over_decomposed"] != row["score_over_decomposed"]
    assert table.loc[("left out", "b")]["score_over_decomposed_low"] > 0


def test_a_ranking_is_collected_by_its_average_precision(tmp_path):
    labels = RNG.integers(0, 2, 40)
    for name, noise in (("dense", 0.5), ("other", 3.0)):
        similarity = labels + noise * RNG.normal(size=40)
        score = average_precision_score(labels, similarity)
        write(tmp_path, name, "a", np.clip(similarity, 0, 1), score=score)
        frame = {"task": "t", "question": np.arange(40), "value": similarity, "label": labels}
        write_scores(tmp_path, name, "a", frame | {"log_probability": None})
    row = collect(tmp_path, ["a"], RANKING).set_index(["label", "benchmark"]).loc[("x", "a")]
    assert row["score"] == pytest.approx(average_precision_score(labels, similarity), abs=1e-6)
    assert row["score_difference_high"] < 0


def test_a_baseline_stands_beside_the_scores_of_its_benchmark(folder):
    score = {"value": 0.25, "interval_95": [0.2, 0.31]}
    result = {"benchmark": "b", "label": "words", "score": score}
    write_json(folder / "baseline.json", result)

    def table(names):
        rows, output = [ROW | {"decomposition": "other"}], folder / "out.csv"
        collect_accuracy(rows, described(names), folder, output, [folder / "baseline.json"])
        return pd.read_csv(output).set_index(["label", "benchmark"])

    both = table("ab")
    columns = ["baseline", "baseline_low", "baseline_high", "baseline_label"]
    assert both.loc[("x", "b"), columns].tolist() == [0.25, 0.2, 0.31, "words"]
    # A mean of two has no baseline, and that of one has its own.
    assert both.loc[[("x", "a"), ("x", AGGREGATE)], columns].isna().all(axis=None)
    assert table("b").loc[("dense", AGGREGATE), columns].tolist() == [0.25, 0.2, 0.31, "words"]


# --- configurations that were asked different questions -----------------------------------------


def test_a_score_has_its_own_questions_and_a_difference_the_common_ones(folder):
    write(folder, "other", "a", OTHER["a"][:24], np.log(0.1 + 0.8 * OTHER["a"][:24]))
    table = collect(folder).set_index(["label", "benchmark"])
    row, dense = table.loc[("x", "a")], table.loc[("dense", "a")]
    assert (row["questions"], row["questions_paired"]) == (24, 24)
    assert (dense["questions"], dense["questions_paired"]) == (60, 60)
    assert dense["score"] == pytest.approx(DENSE["a"].mean(), abs=1e-6)
    assert row["score"] == pytest.approx(OTHER["a"][:24].mean(), abs=1e-6)
    difference = OTHER["a"][:24].mean() - DENSE["a"][:24].mean()
    assert row["score_difference"] == pytest.approx(difference, abs=1e-6)
    companion = np.log(0.1 + 0.8 * DENSE["a"])
    assert dense["log_probability"] == pytest.approx(companion.mean(), abs=1e-5)
    whole = table.loc[("x", AGGREGATE)]
    assert (whole["questions"], whole["questions_paired"]) == (64, 64)
    mean = (difference + OTHER["b"].mean() - DENSE["b"].mean()) / 2
    assert whole["score_difference"] == pytest.approx(mean, abs=1e-6)
    # Of the dense model's first 24 questions alone, the same would be said.
    write(folder, "dense", "a", DENSE["a"][:24], companion[:24])
    alone = collect(folder).set_index(["label", "benchmark"]).loc[("x", "a")]
    assert alone["score_difference"] == row["score_difference"]
    ends = ["score_difference_low", "score_difference_high"]
    assert row[ends].tolist() == pytest.approx(alone[ends].tolist(), abs=0.04 * np.ptp(alone[ends]))


def test_who_was_asked_more_need_not_be_the_dense_model(folder):
    more = np.append(OTHER["a"], [1.0, 0.0, 1.0, 1.0])
    write(folder, "other", "a", more, np.log(0.1 + 0.8 * more))
    row = collect(folder).set_index(["label", "benchmark"]).loc[("x", "a")]
    assert (row["questions"], row["questions_paired"]) == (64, 60)
    assert row["score"] == pytest.approx(more.mean(), abs=1e-6)
    assert row["score_difference"] == pytest.approx(OTHER["a"].mean() - DENSE["a"].mean(), abs=1e-6)


def test_questions_that_are_no_part_of_each_other_are_named(folder):
    """As many are missing here as there: they are of two orders."""
    write(folder, "other", "a", OTHER["a"][:30], np.zeros(30), questions=np.arange(40, 70))
    with pytest.raises(
        LowrankError, match="other and dense did not answer the same questions of a"
    ):
        collect(folder)
    frame = {"task": "t", "question": np.arange(60), "value": DENSE["a"], "cluster": "one"}
    write(folder, "other", "a", OTHER["a"])
    write_scores(folder, "dense", "a", frame)
    with pytest.raises(LowrankError, match="did not answer the same questions of a"):
        collect(folder)
