"""Sampling by a seed: tokens by NumPy's own arithmetic, texts that nothing beside changes."""

import hypothesis
import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import strategies
from lowrank.base.errors import LowrankError
from lowrank.evaluate.packed import decoding
from lowrank.evaluate.packed.decoding import Chooser, Sampling, can_sample, nucleus_token
from lowrank.evaluate.packed.greedy import GreedyGenerator
from lowrank.evaluate.packed.lm import PackedLM
from random_models import TOKENIZER, make_model
from stock import CONTEXTS, generation_requests, stock
from transformers import TopPLogitsWarper

SAMPLED = {
    **{"until": [], "max_gen_toks": 24, "max_length": 96, "do_sample": True},
    **{"temperature": 0.8, "top_p": 0.9, "seed": 5, "sample": 0},
}


def reference(logits_V, temperature, top_p, number):
    """Draw from the nucleus, by a loop over tokens from the likeliest on."""
    probabilities = scipy.special.softmax(np.asarray(logits_V, dtype=np.float64) / temperature)
    ordered = sorted(range(len(probabilities)), key=lambda token: (-probabilities[token], token))
    nucleus, total = [], 0.0
    for token in ordered:
        nucleus.append(token)
        total += probabilities[token]
        if total >= top_p:
            break
    reached = 0.0
    for token in nucleus:
        reached += probabilities[token]
        if number * total < reached:
            return token
    return nucleus[-1]


class Numbers:
    """Given numbers in place of random ones."""

    def __init__(self, numbers):
        self._numbers = iter(numbers)

    def random(self):
        return next(self._numbers)


@hypothesis.settings(deadline=None)
@hypothesis.given(
    strategies.integers(0, 2**32),
    strategies.sampled_from([2, 7, 600, 2000]),
    strategies.sampled_from([0.2, 0.7, 1.0, 3.0]),
    strategies.sampled_from([0.05, 0.5, 0.95, 1.0]),
    strategies.sampled_from([torch.float32, torch.bfloat16]),
)
def test_tokens_are_those_of_numpy(seed, size, temperature, top_p, dtype):
    """In half precision many logits are equal; the nucleus may hold more than the first few."""
    generator = np.random.default_rng(seed)
    logits_BV = torch.from_numpy(generator.normal(scale=2, size=(3, size))).to(dtype)
    numbers_B = generator.random(3)
    chooser = Chooser(Sampling(temperature, top_p, 0, 0), [[1], [2], [3]])
    chooser._numbers = [Numbers([number]) for number in numbers_B]
    tokens_B, highest_B = chooser.choose(logits_BV, [0, 1, 2])
    expected = [
        reference(own.float().numpy(), temperature, top_p, number)
        for own, number in zip(logits_BV, numbers_B, strict=True)
    ]
    assert tokens_B.tolist() == expected
    assert highest_B.tolist() == logits_BV.amax(-1).tolist()


@pytest.mark.parametrize(("number", "token"), [(0.0, 3), (0.49, 3), (0.51, 1), (0.999, 1)])
def test_two_likely_tokens(number, token):
    probabilities = np.array([0.01, 0.49, 0.01, 0.49])
    probabilities[3] += 1e-9
    assert nucleus_token(probabilities, np.arange(4), 0.95, number, are_all=True) == token


def test_the_nucleus_is_that_of_transformers():
    generator = np.random.default_rng(7)
    logits_BV = torch.from_numpy(generator.normal(scale=3, size=(50, 300)))
    kept_BV = TopPLogitsWarper(0.9)(None, logits_BV).isfinite()
    for logits_V, kept_V in zip(logits_BV, kept_BV, strict=True):
        probabilities_V = logits_V.softmax(-1).numpy()
        drawn = {
            nucleus_token(probabilities_V, np.arange(300), 0.9, number, are_all=True)
            for number in np.linspace(0, 1, 20_000, endpoint=False)
        }
        assert drawn <= set(kept_V.nonzero()[:, 0].tolist())
        likely = {token for token in drawn if probabilities_V[token] > 1e-3}
        assert likely == {t for t in kept_V.nonzero()[:, 0].tolist() if probabilities_V[t] > 1e-3}


def test_tokens_come_as_often_as_they_are_likely():
    logits_V = np.array([2.0, 1.0, 0.0, -1.0, -9.0])
    probabilities_V = scipy.special.softmax(logits_V / 0.7)
    numbers = Sampling(0.7, 1.0, 3, 1).numbers([4, 5])
    drawn = [
        nucleus_token(probabilities_V, np.arange(5), 1.0, numbers.random(), are_all=True)
        for _ in range(20_000)
    ]
    counts = np.bincount(drawn, minlength=5)
    assert (
        scipy.stats.chisquare(
            counts[:4], counts[:4].sum() * probabilities_V[:4] / (probabilities_V[:4].sum())
        ).pvalue
        > 1e-3
    )


def test_numbers_follow_from_seed_sample_and_context():
    def first(seed, sample, context):
        return Sampling(1.0, 1.0, seed, sample).numbers(context).random(3).tolist()

    assert first(1, 2, [3, 4]) == first(1, 2, (np.int64(3), 4))
    others = [first(2, 2, [3, 4]), first(1, 3, [3, 4]), first(1, 2, [4, 3]), first(1, 2, [3])]
    assert len({*map(tuple, others), tuple(first(1, 2, [3, 4]))}) == 5


def texts(lm, contexts, rows=None, **changes):
    requests = generation_requests(contexts, **(SAMPLED | changes))
    return GreedyGenerator(lm, rows).generate([request.args for request in requests], True)


def test_a_text_does_not_depend_on_what_is_beside_it(packed):
    together = texts(packed, CONTEXTS)
    assert len(set(together[:4])) > 1
    for rows in (1, 2, 3):
        assert texts(packed, CONTEXTS, rows) == together
    assert texts(packed, CONTEXTS[::-1]) == together[::-1]
    assert [texts(packed, [context])[0] for context in CONTEXTS] == together
    assert packed.generate_until(generation_requests(CONTEXTS, **SAMPLED), True) == together


def test_samples_differ_and_are_the_same_again(packed):
    made = [tuple(texts(packed, CONTEXTS, sample=sample)) for sample in range(4)]
    assert len(set(made)) == 4
    assert [tuple(texts(packed, CONTEXTS, sample=sample)) for sample in range(4)] == made
    assert tuple(texts(packed, CONTEXTS, seed=6)) != made[0]


def test_texts_are_those_of_one_pass_a_token(packed):
    """The same by plain passes over the whole text so far, and the reference's choice."""
    for context, text in zip(CONTEXTS, texts(packed, CONTEXTS), strict=True):
        tokens = TOKENIZER.encode(context)
        numbers = Sampling(0.8, 0.9, 5, 0).numbers(tokens)
        new = []
        while len(new) < 24 and len(tokens) + len(new) < 96 and (not new or new[-1] != 1):
            with torch.no_grad():
                logits_V = packed.model(torch.tensor([tokens + new])).logits[0, -1].numpy()
            new.append(reference(logits_V, 0.8, 0.9, numbers.random()))
        assert text == TOKENIZER.decode(new, skip_special_tokens=True)


def test_a_small_nucleus_is_greedy(packed):
    expected = stock(packed.model, 1).generate_until(
        generation_requests(CONTEXTS, until=["e"], max_gen_toks=12), disable_tqdm=True
    )
    assert texts(packed, CONTEXTS, until=["e"], max_gen_toks=12, top_p=1e-9) == expected


def test_context_and_text_share_a_length(packed):
    lengths = [len(TOKENIZER.encode(context)) for context in CONTEXTS]
    most = sorted(lengths)[1]
    made = texts(packed, CONTEXTS, max_length=most + 2, top_p=1e-9)
    for context, text, length in zip(CONTEXTS, made, lengths, strict=True):
        room = max(0, min(24, most + 2 - length))
        (expected,) = texts(packed, [context], max_gen_toks=max(1, room), top_p=1e-9)
        assert text == (expected if room else "")
    assert "" in made


def test_logits_that_are_not_finite_are_not_drawn_from():
    logits_BV = torch.tensor([[0.0, float("nan")], [1.0, 2.0]])
    tokens_B, highest_B = Chooser(Sampling(1.0, 1.0, 0, 0), [[1], [2]]).choose(logits_BV, [0, 1])
    assert len(tokens_B) == 2 and highest_B.isfinite().tolist() == [False, True]


def test_few_tokens_are_looked_at(packed, monkeypatch):
    """However many are looked at first, the same ones are drawn."""
    expected = texts(packed, CONTEXTS, temperature=3.0, top_p=0.99)
    monkeypatch.setattr(decoding, "LIKELIEST", 3)
    assert texts(packed, CONTEXTS, temperature=3.0, top_p=0.99) == expected


def test_what_lm_eval_must_do_itself_is_not_sampled():
    lm = PackedLM(make_model(), TOKENIZER)
    assert can_sample(lm, SAMPLED)
    assert not can_sample(lm, SAMPLED | {"top_k": 3})
    lm.reason = lm.fallback = "a reason"
    with pytest.raises(LowrankError, match="sampled by the scorer `packed` alone"):
        lm.generate_until(generation_requests(CONTEXTS, **SAMPLED), disable_tqdm=True)
