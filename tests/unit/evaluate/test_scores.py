"""What questions are worth: by hand, and as lm-eval's own tasks have it."""

import math
import re
from pathlib import Path
from types import SimpleNamespace

import lm_eval.tasks
import numpy as np
import pytest
from lm_eval.tasks.truthfulqa.utils import process_results_mc2
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml
from lowrank.evaluate.scores import quantities, question_scores, require_agreement


def headline(**benchmark):
    return quantities({"name": "toy", **benchmark})[0]


def choice_task(process_results=None):
    """A multiple-choice task whose documents name the right choice."""
    return SimpleNamespace(
        OUTPUT_TYPE="multiple_choice",
        config=SimpleNamespace(process_results=process_results),
        process_results=process_results,
        multiple_input=0,
        doc_to_target=lambda document: document["right"],
        doc_to_choice=lambda document: ["x", "y", "z"],
    )


def test_lm_evals_score_is_the_mean_of_the_questions():
    scores = [{"task": "b", "value": n / 4} for n in range(5)]
    quantity = headline(metric="acc")
    require_agreement({"a": {"acc,none": 1.0}, "b": {"acc,none": 0.5}}, scores, quantity)
    for theirs in (0.75, math.nan):
        results = {"a": {"acc,none": 1.0}, "b": {"acc,none": theirs}}
        with pytest.raises(
            LowrankError, match=f"toy: lm-eval scores {theirs}, its samples give 0.5"
        ):
            require_agreement(results, scores, quantity)


def test_lm_evals_scores_are_weighed_as_the_questions_are():
    quantity = headline(metric="acc", weights={"a": 2, "b": 1})
    scores = [{"task": "toy", "value": value} for value in (0.2, 0.6)]
    require_agreement({"a": {"acc,none": 0.3}, "b": {"acc,none": 0.6}}, scores, quantity)
    with pytest.raises(LowrankError, match=r"toy: lm-eval scores 0\.5, its samples give 0\.4"):
        require_agreement({"a": {"acc,none": 0.6}, "b": {"acc,none": 0.3}}, scores, quantity)


def test_question_filters_and_tasks_are_not_mixed():
    quantity = headline(metric="exact_match,strict", weights={"a": 1})
    sample = {"task": "a", "doc_id": 3, "exact_match": 0.0, "filter": "strict"}
    samples = [sample, sample | {"exact_match": 1.0, "filter": "loose"}, sample | {"task": "b"}]
    task = SimpleNamespace(OUTPUT_TYPE="generate_until")
    expected = {"task": "toy", "question": 3, "value": 0.0, "log_probability": None, "chance": None}
    assert question_scores(samples, quantity, {"a": task, "b": task}) == [expected]


def test_companion_is_the_log_probability_of_the_right_choice():
    task = choice_task()
    responses = [[math.log(0.2), False], [math.log(0.1), False], [math.log(0.5), True]]
    sample = {"task": "a", "doc_id": 0, "acc": 0.0, "filter": "none", "filtered_resps": responses}
    for right, expected in ((0, 0.25), (1, 0.125), ("z", 0.625)):
        samples = [sample | {"doc": {"right": right}}]
        (score,) = question_scores(samples, headline(metric="acc"), {"a": task})
        assert score["log_probability"] == pytest.approx(math.log(expected))
        assert score["chance"] == 1 / 3


def test_questions_of_a_task_are_a_cluster_where_the_entry_says_so():
    samples = [{"task": task, "doc_id": 0, "acc": 1.0} for task in ("a", "b")]
    task = SimpleNamespace(OUTPUT_TYPE="generate_until")
    for clusters, expected in (("task", ["a", "b"]), (None, [None, None])):
        quantity = headline(metric="acc", clusters=clusters)
        scores = question_scores(samples, quantity, {"a": task, "b": task})
        assert [score.get("cluster") for score in scores] == expected


def truthful_samples(scores, labels, acc_of_mc1):
    """Samples of mc1 and mc2 of one question; mc1 asks the first choice and the false ones."""
    document = {"mc2_targets": {"labels": labels}, "right": 0}
    mc2 = [(score, False) for score in scores]
    mc1 = [mc2[0], *(own for own, label in zip(mc2, labels, strict=True) if not label)]
    shared = {"doc_id": 7, "filter": "none", "doc": document}
    acc = process_results_mc2(document, mc2)["acc"]
    return [
        shared | {"task": "truthfulqa_mc1", "acc": acc_of_mc1, "filtered_resps": mc1},
        shared | {"task": "truthfulqa_mc2", "acc": acc, "filtered_resps": mc2},
    ]


def test_the_group_of_truthfulqa_by_hand():
    """(2 mc1 + mc2) / 3 of each question, by the entry's own weights."""
    entry = read_yaml("config/benchmarks/truthfulqa.yaml") | {"name": "truthfulqa"}
    tasks = {"truthfulqa_mc1": choice_task(), "truthfulqa_mc2": choice_task(process_results_mc2)}
    # Probabilities 0.1 0.2 | 0.4 0.2 0.1, up to a factor: 0.3 of the mass is true, mc1 is wrong.
    labels = [1, 1, 0, 0, 0]
    samples = truthful_samples(np.log([0.1, 0.2, 0.4, 0.2, 0.1]) - 3, labels, 0.0)
    group, beside = quantities(entry)
    (score,) = question_scores(samples, group, tasks)
    assert (score["task"], score["question"]) == ("truthfulqa", 7)
    assert score["value"] == pytest.approx((2 * 0 + 0.3) / 3)
    log_mc1 = math.log(0.1 / 0.8)
    assert score["log_probability"] == pytest.approx((2 * log_mc1 + math.log(0.3)) / 3)
    # A guess is right in one of mc1's four choices, and has two fifths of mc2's mass.
    assert score["chance"] == pytest.approx((2 / 4 + 2 / 5) / 3)
    (mc1,), (mc2,) = (question_scores(samples, beside[name], tasks) for name in ("mc1", "mc2"))
    assert (mc1["value"], mc1["chance"]) == (0.0, 1 / 4)
    assert mc2["value"] == pytest.approx(0.3) and mc2["chance"] == pytest.approx(2 / 5)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_choices_whose_probabilities_all_underflow_are_called_that():
    """lm-eval divides zero by zero; the log-likelihoods are fine, and no dtype would help."""
    samples = truthful_samples([-800.0, -900.0, -801.0, -802.0], [1, 0, 0, 0], 1.0)
    assert math.isnan(samples[1]["acc"])
    quantity = headline(metric="acc", weights={"truthfulqa_mc2": 1})
    tasks = {"truthfulqa_mc2": choice_task(process_results_mc2)}
    message = "^truthfulqa_mc2: question 7: lm-eval's acc is nan: the probability of every choice"
    with pytest.raises(LowrankError, match=message):
        question_scores(samples, quantity, tasks)


def test_a_guess_is_what_scores_without_knowledge_give_on_average():
    """Scores drawn at random, 4,000 times: the chance levels are their means."""
    rng = np.random.default_rng(0)
    labels = [1, 1, 0, 0, 0]
    drawn = rng.normal(-20, 3, (4000, 5))
    document = {"mc2_targets": {"labels": labels}}
    masses = [process_results_mc2(document, [(s, False) for s in row])["acc"] for row in drawn]
    mc1 = [row[[0, 2, 3, 4]].argmax() == 0 for row in drawn]
    tasks = {"truthfulqa_mc1": choice_task(), "truthfulqa_mc2": choice_task(process_results_mc2)}
    entry = read_yaml("config/benchmarks/truthfulqa.yaml") | {"name": "truthfulqa"}
    (score,) = question_scores(truthful_samples(drawn[0], labels, 1.0), quantities(entry)[0], tasks)
    assert score["chance"] == pytest.approx((2 * np.mean(mc1) + np.mean(masses)) / 3, abs=0.02)


def test_tasks_that_are_weighed_together_ask_the_same_questions():
    quantity = headline(metric="acc", weights={"a": 2, "b": 1})
    sample = {"task": "a", "doc_id": 0, "acc": 1.0, "filter": "none"}
    tasks = dict.fromkeys("ab", SimpleNamespace(OUTPUT_TYPE="generate_until"))
    whole = [sample, sample | {"task": "b", "acc": 0.25}]
    assert question_scores(whole, quantity, tasks)[0]["value"] == 0.75
    with pytest.raises(LowrankError, match="toy: its tasks did not ask the same questions"):
        question_scores([*whole, sample | {"doc_id": 1}], quantity, tasks)


def test_a_metric_that_is_no_right_choice_has_no_guess():
    responses = [[-1.0, False], [-2.0, False]]
    sample = {"task": "a", "doc_id": 0, "f1": 1.0, "filter": "none", "filtered_resps": responses}
    samples = [sample | {"doc": {"right": 0}}]
    (score,) = question_scores(samples, headline(metric="f1"), {"a": choice_task()})
    assert score["chance"] is None


def test_gsm8k_is_scored_by_the_filter_that_was_called_get_answer():
    """The expression of lm-eval 0.4.0's `get-answer`, under the name that it has now."""
    task = read_yaml(Path(lm_eval.tasks.__file__).parent / "gsm8k" / "gsm8k.yaml")
    name, _, wanted = read_yaml("config/benchmarks/gsm8k.yaml")["metric"].partition(",")
    (used,) = [own["filter"] for own in task["filter_list"] if own["name"] == wanted]
    assert name == "exact_match" and [own["function"] for own in used] == ["regex", "take_first"]
    assert used[0]["regex_pattern"] == r"#### (\-?[0-9\.\,]+)" and "group_select" not in used[0]
    assert re.search(used[0]["regex_pattern"], "So 9.\n#### 1,200 or #### 7")[1] == "1,200"


def rolling_samples(task, answers):
    """Samples of whole texts, each of its log-likelihood and its numbers of words and bytes."""
    return [
        {
            "task": task,
            "doc_id": number,
            "word_perplexity": (log_likelihood, words),
            "bits_per_byte": (log_likelihood, size),
        }
        for number, (log_likelihood, words, size) in enumerate(answers)
    ]


def test_a_whole_text_has_a_weight():
    """exp(30 / 5) a word of two texts; 30 nats are 30 / ln 2 bits of 20 bytes."""
    samples = rolling_samples("w", [(-10.0, 4, 15), (-20.0, 1, 5)])
    tasks = {"w": SimpleNamespace(OUTPUT_TYPE="loglikelihood_rolling")}
    by_word, beside = quantities(
        {"name": "w", "metric": "word_perplexity", "beside": {"bpb": {"metric": "bits_per_byte"}}}
    )
    words, bits = (question_scores(samples, own, tasks) for own in (by_word, beside["bpb"]))
    assert [(row["value"], row["weight"]) for row in words] == [(2.5, 4), (20.0, 1)]
    assert [row["value"] for row in bits] == pytest.approx(
        [10 / 15 / math.log(2), 20 / 5 / math.log(2)]
    )
    assert all(row["chance"] is None and row["log_probability"] is None for row in words + bits)
    theirs = {"word_perplexity,none": math.exp(6), "bits_per_byte,none": 1.5 / math.log(2)}
    require_agreement({"w": theirs}, words, by_word)
    require_agreement({"w": theirs}, bits, beside["bpb"])
    for other in (math.exp(6) * (1 + 1e-8), math.inf, math.nan):
        with pytest.raises(LowrankError, match=r"w: lm-eval scores .*, its samples give 403\.4"):
            require_agreement({"w": {"word_perplexity,none": other}}, words, by_word)


def test_the_texts_of_several_tasks_agree_task_by_task():
    quantity = headline(metric="word_perplexity")
    scores = [{"task": task, "value": value, "weight": 2.0} for task, value in (("a", 1), ("b", 2))]
    results = {"a": {"word_perplexity,none": math.e}, "b": {"word_perplexity,none": math.e**2}}
    require_agreement(results, scores, quantity)
    with pytest.raises(LowrankError, match="toy: lm-eval scores"):
        require_agreement(results | {"b": results["a"]}, scores, quantity)
