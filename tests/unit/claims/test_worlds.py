"""Every claim on worlds in which the thesis is right, wrong, or cannot be told."""

import functools

import numpy as np
import pytest
from lowrank.claims.estimate import QUESTIONS_LIKE_THESE, THESE_WORKLOADS, THIS_TEST_SET
from lowrank.claims.verdict_names import (
    CONTRADICTED,
    NOT_SEEN,
    NOT_TESTABLE,
    SEEN,
    SUPPORTED,
    TRIVIAL,
    UNDECIDED,
)
from made_worlds import (
    A100,
    CLAIMS,
    FIVE,
    judgement_on,
    made_answers,
    made_evidence,
    subjects_of,
)

TENSORS = ["Q", "K", "V", "SO", "G", "U", "D"]
VIOLATIONS = {
    "C1": [{"exponent": 2}, {"exponent": -2}],
    "C2": [{"rank_250": 5.0}, {"rank_500": 5.0}, {"slope": 0.0, "slope_beyond": 0.0}],
    "C3": [
        *({f"{t}_{layers}": 6.0} for t in TENSORS for layers in ("one", "all")),
        {"Q_one": -6.0},
        {"int_one": 0.0},
        {"int_all": 0.0},
    ],
    "C4": [
        {"few_8": 60.0},
        {"few_21": 60.0},
        {"few_8": 25.0},
        {"q_in_all": 35.0},
        {"bert_few_sixth": 40.0},
        {"bert_few_third": 40.0},
    ],
    "C5": [{end: 0.0} for end in ("first", "second", "last", "bert_first", "bert_last")],
    "C6": [
        *({f"distance_{benchmark}": -2.0} for benchmark in FIVE),
        {"distance_truthfulqa": 1.0},
    ],
    "C7": [{"slope": 2.0}, {"slope": 0.1}],
    "C8": [
        *({metric: slope} for metric in ("latency", "energy", "memory") for slope in (0.1, 0.9)),
        {"latency_at_9": 5.0},
        {"latency_at_9": -5.0},
        {"energy_at_9": 5.0},
        {"energy_at_9": -5.0},
    ],
    "C9": [
        {"power": 0.3},
        {"power": -0.3},
        {"latency_spread": 0.3},
        {"latency_uneven": 60.0},
        {"energy_spread": 0.3},
        {"energy_uneven": 60.0},
    ],
    "C10": [{"slope_beyond": 0.9}, {"truthfulqa_6": -6.0}, {"truthfulqa_96": 12.0}],
    "C11": [{"winogrande": 1.5}],
    "C12": [{"fine_tuned": 15.0}],
    "C13": [
        {"perplexity": 5.0},
        {"few_bits": 3.0},
        {"lord_latency": -10.0},
        {"lord_seconds": 900.0},
        {"qlora_memory": -10.0},
        {"human_eval": 5.0},
    ],
    "C14": [{"rom_80": 15.0}, {"rom_50": 30.0}],
}
"""Worlds in which a claim is wrong."""

HARD_TO_TELL = {"noise": 1.0, "unrest": 0.3}
COUNTED = ["C1"]
DECIDED = (SUPPORTED, TRIVIAL, CONTRADICTED)


@functools.cache
def made_in(name, folder, changes):
    return judgement_on(name, made_evidence(CLAIMS[name], folder, **dict(changes)), folder)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """The judgement of a claim on a world; worlds that were judged are kept."""
    folder = tmp_path_factory.mktemp("worlds")

    def judge(name, **changes):
        return made_in(name, folder, tuple(changes.items()))

    return judge


def named(changes):
    return "-".join(f"{key}-{value}" for key, value in changes.items())


WRONG = [
    pytest.param(name, change, id=f"{name}-{named(change)}")
    for name, changes in VIOLATIONS.items()
    for change in changes
]


def test_every_claim_of_the_thesis_is_there():
    assert list(CLAIMS) == [f"C{number}" for number in range(1, 15)] == list(VIOLATIONS)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_is_supported_where_the_thesis_is_right(name, judged):
    row = judged(name)
    assert row["verdict"] == SUPPORTED, row
    assert row["is_named"]
    for test in row["tests"]:
        low, high = test["interval_95"]
        assert low <= test["value"] <= high
        assert test["evidence"]


@pytest.mark.parametrize(("name", "change"), WRONG)
def test_a_claim_is_contradicted_where_the_thesis_is_wrong(name, change, judged):
    row = judged(name, **change)
    assert row["verdict"] == CONTRADICTED, row


@pytest.mark.parametrize("name", CLAIMS)
def test_every_test_of_a_claim_can_go_both_ways(name, judged):
    """Each is supported in the right world, and some wrong world contradicts it."""
    right = judged(name)["tests"]
    wrong = [judged(name, **change)["tests"] for change in VIOLATIONS[name]]
    assert [test["verdict"] for test in right] == [SUPPORTED] * len(right)
    for index, test in enumerate(right):
        verdicts = {tests[index]["verdict"] for tests in wrong}
        assert CONTRADICTED in verdicts, test["says"]


@pytest.mark.parametrize("name", [name for name in CLAIMS if name not in COUNTED])
def test_a_claim_is_undecided_where_noise_hides_it(name, judged):
    row = judged(name, **HARD_TO_TELL)
    assert row["verdict"] == UNDECIDED, row


@pytest.mark.parametrize("name", ["C2", "C3", "C10", "C11"])
def test_a_flat_floor_supports_trivially(name, judged):
    """All that is decomposed guesses: ranks and tensors agree, and nothing can fall further."""
    row = judged(name, floor=1.0, noise=1e-3)
    trivial = [test for test in row["tests"] if test["verdict"] == TRIVIAL]
    assert row["verdict"] == TRIVIAL, row
    assert trivial and all("at chance" in test["flags"] for test in trivial)
    assert {test["verdict"] for test in row["tests"]} <= {TRIVIAL, SUPPORTED}


@pytest.mark.parametrize("name", ["C4", "C5", "C6"])
def test_no_claim_orders_guesses(name, tmp_path):
    """Even on whole test sets, where any difference between two guesses is certain."""
    evidence = made_evidence(CLAIMS[name], tmp_path, exhaustive=True, floor=1.0, noise=1e-3)
    row = judgement_on(name, evidence, tmp_path)
    orders = [test for test in row["tests"] if test["reason"] == "all at chance"]
    assert len(orders) == {"C4": 2, "C5": 3, "C6": 10}[name]
    assert {test["verdict"] for test in orders} == {UNDECIDED}
    assert all(low == high != 0 for low, high in (test["interval_95"] for test in orders))


@pytest.mark.parametrize("name", ["C2", "C3", "C10", "C11"])
def test_few_questions_at_the_floor_support_nothing(name, judged):
    row = judged(name, floor=1.0, noise=0.5)
    assert row["verdict"] == UNDECIDED
    guesses = [
        test
        for test, entry in zip(row["tests"], CLAIMS[name]["tests"], strict=True)
        if "at chance" in test["flags"] and entry["at_chance"] != "judged"
    ]
    assert {test["reason"] for test in guesses} == {"all at chance"}
    assert {test["verdict"] for test in guesses} == {UNDECIDED}


ELSEWHERE = [(name, "a small model on a CPU") for name in CLAIMS if name not in COUNTED] + [
    (name, "the model on another GPU")
    for name, claim in CLAIMS.items()
    if claim["speaks_of"]["devices"]
]


@pytest.mark.parametrize(("name", "elsewhere"), ELSEWHERE)
def test_what_a_claim_does_not_speak_of_decides_nothing(name, elsewhere, tmp_path):
    """Right or wrong there: no verdict, no reading and no test says more than what is seen."""
    if elsewhere == "the model on another GPU":
        own, changes, gpus = "NVIDIA H100", {"device": "NVIDIA H100"}, 1
    else:
        own, gpus = "A CPU", 0
        changes = {"device": own, "model": "small", "device_type": "cpu"}
    seen = set()
    for change in [{}, *VIOLATIONS[name][:4]]:
        evidence = made_evidence(CLAIMS[name], tmp_path, device=own, gpus=gpus, **change)
        row = judgement_on(name, evidence, tmp_path, subjects_of(name, **changes))
        verdicts = {row["verdict"], row["verdict_like_these"]}
        verdicts |= {test["verdict"] for test in row["tests"]}
        verdicts |= {own["verdict"] for test in row["tests"] for own in test.get("readings", [])}
        assert not verdicts & set(DECIDED), row
        assert all("value" in test for test in row["tests"])  # the number stands
        seen.add(row["verdict"])
    is_limited = all(test["models"] or test["devices"] for test in CLAIMS[name]["tests"])
    if is_limited and elsewhere == "a small model on a CPU":
        assert seen == {NOT_TESTABLE}
    else:
        assert seen == {SEEN, NOT_SEEN}


@pytest.mark.parametrize(
    ("name", "change"), [("C3", {"Q_one": 6.0}), ("C4", {"few_21": 60.0}), ("C5", {"first": 0.0})]
)
def test_a_scope_that_cannot_support_a_claim_cannot_contradict_it(name, change, tmp_path):
    """The thesis's Llama without its BERT."""
    for changes in ({}, change):
        evidence = made_evidence(CLAIMS[name], tmp_path, **changes)
        row = judgement_on(name, {"llama": evidence["llama"]}, tmp_path)
        assert row["verdict"] == UNDECIDED
        assert row["verdict_like_these"] in (UNDECIDED, None)
        assert "tests could be judged; not judged: there is no model" in row["reason"]
    assert CONTRADICTED in {test["verdict"] for test in row["tests"]}


@pytest.mark.parametrize("name", ["C2", "C6", "C7", "C11", "C12"])
def test_whole_test_sets_leave_no_error_of_sampling(name, tmp_path):
    """Answers in files, all that there are: read on this test set first, then on others."""
    row = judgement_on(name, made_answers(CLAIMS[name], tmp_path, spread=0.5), tmp_path)
    assert (row["verdict"], row["reading"]) == (SUPPORTED, THIS_TEST_SET)
    assert row["verdict_like_these"] == UNDECIDED
    assert row["statement"].endswith(": supported; undecided on questions like these")
    for test in row["tests"]:
        assert test["interval_95"] == [test["value"]] * 2
        low, high = test["readings"][1]["interval_95"]
        assert test["readings"][1]["reading"] == QUESTIONS_LIKE_THESE and low < high


def test_answers_and_made_scores_give_one_verdict(tmp_path):
    for place, change in enumerate([{}, *VIOLATIONS["C11"]]):
        folder = tmp_path / str(place)
        folder.mkdir()
        of_files = judgement_on("C11", made_answers(CLAIMS["C11"], folder, **change), folder)
        made = judgement_on("C11", made_evidence(CLAIMS["C11"], folder, **change), folder)
        assert of_files["verdict_like_these"] == made["verdict"]
        values = [[test["value"] for test in row["tests"]] for row in (of_files, made)]
        assert np.allclose(*values, atol=0.02)


def test_costs_are_read_on_these_workloads_and_on_others(judged):
    row = judged("C8", latency_spread=0.4)
    assert (row["verdict"], row["reading"]) == (SUPPORTED, THESE_WORKLOADS)
    assert row["verdict_like_these"] == UNDECIDED
    assert row["holds_for"] == f"Llama-2-7B, {A100}"
