"""What is scored of each request, and the answers that scores make."""

import numpy as np
import pytest
import torch
from lowrank.evaluate.finite import NotFiniteError
from lowrank.evaluate.packed.head import score_tokens
from lowrank.evaluate.packed.results import Results
from random_models import SIZES

REQUESTS = [(None, [5, 6], [7, 8]), (None, [5, 6, 7], [8]), (None, [5], [9])]


@pytest.fixture(scope="module")
def hidden():
    """Hidden states of three tokens."""
    torch.manual_seed(0)
    return torch.randn(3, SIZES["hidden_size"])


def test_requests_with_the_same_tokens_are_one_member(model):
    results = Results(model, REQUESTS, 10)
    assert results.tree.sequences == [(5,), (5, 6, 7)]
    assert [results.requests_of(member) for member in results.members] == [[2], [0, 1]]
    assert results.scored_tokens == [[(0, [9])], [(1, [7, 8]), (2, [8])]]


def test_answers_are_the_same_however_a_sequence_is_cut_into_passes(model, hidden):
    whole, cut = Results(model, REQUESTS, 10), Results(model, REQUESTS, 10)
    places = np.array([2, 0, 1])
    whole.score(hidden, {0: places[:1], 1: places}, 0)
    cut.score(hidden, {0: places[:1], 1: places[:2]}, 0)
    cut.score(hidden, {1: places[2:]}, 2)
    expected, _ = score_tokens(model, hidden, np.array([0, 1, 1, 2]), np.array([7, 8, 8, 9]))
    for results in (whole, cut):
        (ninth, _), (both, _), (eighth, _) = (*results.answers(0), *results.answers(1))
        assert ninth == pytest.approx(expected[3], abs=1e-6)
        assert both == pytest.approx(expected[0] + expected[1], abs=1e-6)
        assert eighth == pytest.approx(expected[2], abs=1e-6)


def test_what_was_not_computed_is_no_number(model):
    ((value, greedy),) = Results(model, REQUESTS, 10).answers(0)
    assert np.isnan(value) and not greedy


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_log_probability_that_is_not_finite_is_no_answer(model, hidden, bad):
    """A logit of -inf is that of one token; NaN and +inf are in the sum over all of them."""
    logits = model.get_output_embeddings()
    hook = logits.register_forward_hook(
        lambda _, inputs, made: made.index_fill(-1, torch.tensor([9]), bad)
    )
    results = Results(model, REQUESTS, 10)
    try:
        with pytest.raises(NotFiniteError) as raised:
            results.score(hidden, {0: np.array([2]), 1: np.array([2, 0, 1])}, 0)
    finally:
        hook.remove()
    assert raised.value.asked == ([2] if bad == -np.inf else [0, 1, 2])


def test_a_logit_of_minus_infinity_elsewhere_is_that_of_an_impossible_token(model, hidden):
    """It adds nothing to the sum over the vocabulary, as float16's lowest number adds nothing."""
    head, lowest = model.get_output_embeddings(), float(torch.finfo(torch.float16).min)
    answers = []
    for logit in (-np.inf, lowest):
        hook = head.register_forward_hook(
            lambda _, inputs, made, logit=logit: made.index_fill(-1, torch.tensor([4]), logit)
        )
        results = Results(model, REQUESTS, 10)
        results.score(hidden, {0: np.array([2]), 1: np.array([2, 0, 1])}, 0)
        hook.remove()
        answers.append([results.answers(member) for member in results.members])
    assert answers[0] == answers[1]


def test_a_long_request_is_cut_from_the_left(model, caplog):
    results = Results(model, [(None, [2, 3, 4, 5], [6, 7])], 4)
    assert results.tree.sequences == [(3, 4, 5, 6)]
    assert results.scored_tokens == [[(2, [6, 7])]]
    assert "A request of 6 tokens is cut" in caplog.text


@pytest.mark.parametrize("request_", [([], [5]), ([5], []), ([5], [6] * 5)])
def test_requests_that_cannot_be_scored(model, request_):
    with pytest.raises(ValueError, match="1 to 4 tokens"):
        Results(model, [(None, *request_)], 4)
