"""Packed scoring against lm-eval's own HFLM, on tiny models."""

import copy
import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.model import CacheHook, CachingLM
from lowrank.evaluate.packed.greedy import plain_greedy
from lowrank.evaluate.packed.lm import PackedLM
from lowrank.evaluate.packed.passes import Passes
from random_models import CHOICES, CORPUS, MAX_LENGTH, TOKENIZER, make_model, many_pairs
from stock import CONTEXTS, assert_same, compare, generation_requests, instances, stock
from tiny import words
from transformers import GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM

CONTEXT = "Question: what is the colour of the sky? Answer:"


@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param([(CONTEXT, c) for c in CHOICES], id="choices"),
        pytest.param([(CONTEXT, c) for c in ("a", "b", "c", "d")], id="one token"),
        pytest.param(
            [("the quick brown q jumps", " over"), ("the quick brown z jumps", " over")],
            id="contexts differ in one token",
        ),
        pytest.param([("", c) for c in CHOICES], id="empty context"),
        pytest.param([("", "</s> the"), ("", "<s> the")], id="prefix token in the continuation"),
        pytest.param([(CONTEXT, CHOICES[0])] * 3 + [("fox", " mat")] * 2, id="duplicates"),
        pytest.param([("a", " the quick brown fox jumps over")], id="continuation is longer"),
        pytest.param([(CONTEXT + " ", "blue"), (CONTEXT, " blue")], id="trailing space"),
        pytest.param(
            [("the", " quick"), ("the quick", " brown"), ("the quick brown", " fox")],
            id="one context is the start of another",
        ),
        pytest.param([("the lazy", " dog")], id="single"),
        pytest.param([], id="none"),
    ],
)
def test_same_as_stock(packed, pairs):
    compare(packed, pairs)


def test_single_token_continuation_is_one_token():
    # What the parametrized case above relies on.
    assert [len(TOKENIZER.encode(c)) for c in "abcd"] == [1, 1, 1, 1]


def test_contexts_differ_in_one_token():
    # What the parametrized case above relies on.
    left, right = (TOKENIZER.encode(f"the quick brown {w} jumps") for w in "qz")
    assert len(left) == len(right) > 3
    assert sum(a != b for a, b in zip(left, right, strict=True)) == 1
    assert left[-1] == right[-1]


def test_one_context_split_in_two_ways(packed):
    # With its cache of logits, HFLM takes the wrong positions for the shorter continuation here.
    pairs = [("the quick", " brown fox"), ("the quick brown", " fox"), ("the", " quick brown mat")]
    compare(packed, pairs, logits_cache=False)


@pytest.mark.parametrize("extra", [-1, 0, 1, 2, 40])
def test_truncation(packed, extra):
    context = "z" * (MAX_LENGTH - 3 + extra)
    pairs = [(context, "abc"), (context, "abd"), ("y" + context, "abc"), (context[1:], "q")]
    compare(packed, pairs)


def test_continuation_of_maximum_length(packed):
    compare(packed, [("q", "z" * MAX_LENGTH), ("q", "z" * (MAX_LENGTH - 1) + "y")])


def test_continuation_over_maximum_length(packed):
    with pytest.raises(ValueError, match="1 to 96"):
        packed.loglikelihood(instances([("q", "z" * (MAX_LENGTH + 1))]), disable_tqdm=True)


def test_order_does_not_matter(packed):
    pairs = many_pairs()
    forwards = packed.loglikelihood(instances(pairs), disable_tqdm=True)
    backwards = packed.loglikelihood(instances(pairs[::-1]), disable_tqdm=True)
    assert_same(backwards[::-1], forwards, tolerance=1e-5)


TOKENS = st.integers(2, 5)

REQUESTS = st.lists(
    st.tuples(st.lists(TOKENS, min_size=1, max_size=14), st.lists(TOKENS, min_size=1, max_size=6)),
    min_size=1,
    max_size=14,
)


@settings(max_examples=40, deadline=None)
@given(REQUESTS, st.sampled_from([1, 8, 24, 200]), st.integers(0, 24), st.booleans())
def test_random_trees(requests, batch_tokens, preamble, tied):
    lm, reference = _random_tree_models(tied)
    lm.passes = Passes(lm.model, batch_tokens)
    requests = [(None, [9] * preamble + context, rest) for context, rest in requests]
    expected = reference._loglikelihood_tokens(requests, disable_tqdm=True)
    assert_same(lm._loglikelihood_tokens(requests, disable_tqdm=True), expected)


_MODELS = {}


def _random_tree_models(tied):
    if tied not in _MODELS:
        # Few tokens, so that greedy continuations occur.
        changes = {"vocab_size": 10, "max_position_embeddings": 32, "tie_word_embeddings": tied}
        model = make_model(**changes)
        _MODELS[tied] = (
            PackedLM(model, TOKENIZER),
            stock(model, 4, logits_cache=False),
        )
    return _MODELS[tied]


def test_rolling(packed):
    requests = instances([(" ".join(CORPUS * 3),), ("the fox",)], "loglikelihood_rolling")
    expected = stock(packed.model).loglikelihood_rolling(requests, disable_tqdm=True)
    actual = packed.loglikelihood_rolling(requests, disable_tqdm=True)
    assert actual == pytest.approx(expected, abs=1e-4)  # a sum over 200 tokens


def test_learned_positions_fall_back(caplog):
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(TOKENIZER), n_embd=32, n_layer=2, n_head=4, n_positions=MAX_LENGTH
    )
    model = GPT2LMHeadModel(config).eval()
    with caplog.at_level(logging.WARNING, logger="lowrank"):
        lm = PackedLM(model, TOKENIZER)
    assert "'gpt2' is not verified" in caplog.text
    compare(lm, many_pairs())
    settings = {"until": ["\n"], "max_gen_toks": 4}
    requests = instances([("the quick", settings)], "generate_until")
    expected = stock(model).generate_until(requests, disable_tqdm=True)
    assert lm.generate_until(requests, disable_tqdm=True) == expected


def test_half_precision_falls_back_with_a_softmax_in_full_precision():
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(TOKENIZER), n_embd=32, n_layer=2, n_head=4, n_positions=MAX_LENGTH
    )
    model = GPT2LMHeadModel(config).eval().to(torch.bfloat16)
    lm, requests = PackedLM(model, TOKENIZER, batch_size=3), instances(many_pairs())
    answers = lm.loglikelihood(requests, disable_tqdm=True)
    expected = stock(model, softmax_dtype="float32").loglikelihood(requests, disable_tqdm=True)
    assert answers == expected
    assert answers != stock(model).loglikelihood(requests, disable_tqdm=True)


class FactorPair(torch.nn.Module):
    """A linear layer as a product of two thin matrices."""

    def __init__(self, linear, rank):
        super().__init__()
        left, values, right = torch.linalg.svd(linear.weight.detach(), full_matrices=False)
        self.left = torch.nn.Parameter(left[:, :rank] * values[:rank])
        self.right = torch.nn.Parameter(right[:rank])

    def forward(self, hidden):
        return hidden @ self.right.T @ self.left.T


def test_low_rank_layers():
    model = make_model()
    for layer in model.model.layers:
        layer.self_attn.q_proj = FactorPair(layer.self_attn.q_proj, 4)
        layer.mlp.down_proj = FactorPair(layer.mlp.down_proj, 5)
    lm = PackedLM(model, TOKENIZER, batch_tokens=64)
    assert lm.reason is None
    compare(lm, many_pairs())


@pytest.mark.parametrize("removed", [0, 1, 2])
def test_removed_layers(removed):
    # The remaining layers keep their numbers, by which the keys and values are stored.
    model = make_model(use_cache=False)
    del model.model.layers[removed]
    model.config.num_hidden_layers -= 1
    lm = PackedLM(model, TOKENIZER, batch_tokens=64)
    assert lm.reason is None
    compare(lm, many_pairs())


def test_half_precision_is_nearer_to_full_precision():
    full = make_model()
    half = copy.deepcopy(full).to(torch.bfloat16)
    requests = instances([(words(seed, 3), f" {words(seed + 80, 12)}") for seed in range(80)])
    truth = stock(full).loglikelihood(requests, disable_tqdm=True)

    def deviation(lm):
        answers = lm.loglikelihood(requests, disable_tqdm=True)
        return sum(abs(a[0] - b[0]) for a, b in zip(answers, truth, strict=True))

    # Products are rounded alike, and stock log-probabilities and their sum once more: about 1 to 2.
    assert deviation(PackedLM(half, TOKENIZER)) <= 0.8 * deviation(stock(half))


def test_answers_reach_the_cache(packed, tmp_path):
    caching = CachingLM(packed, str(tmp_path / "cache.db"))
    requests = instances(many_pairs())
    try:
        first = caching.loglikelihood(requests)
        assert len(caching.dbdict) == len({r.args for r in requests})
        assert_same(caching.loglikelihood(requests), first)
    finally:
        packed.set_cache_hook(CacheHook(None))


def test_batch_tokens_are_checked(model):
    with pytest.raises(ValueError, match="at least 1"):
        PackedLM(model, TOKENIZER, batch_tokens=0)


def test_generation_falls_back_where_a_window_is_shorter_than_a_text(caplog):
    lengths = [len(TOKENIZER.encode(context)) for context in CONTEXTS]
    window = max(lengths) + 12
    model = make_model(MistralForCausalLM, MistralConfig, sliding_window=window)
    lm = PackedLM(model, TOKENIZER)
    assert window < lm.max_length
    for new, falls_back in ((12, False), (13, True)):
        requests = generation_requests(CONTEXTS, until=[], max_gen_toks=new)
        expected = stock(model, 1).generate_until(requests, disable_tqdm=True)
        assert lm.generate_until(requests, disable_tqdm=True) == expected
        assert bool(lm.fallback) == falls_back


def test_sampling_falls_back(packed, caplog):
    requests = generation_requests(
        ["fox"], until=[], max_gen_toks=3, do_sample=True, temperature=1.0
    )
    assert not plain_greedy(packed, requests[0].args[1])
    with caplog.at_level(logging.WARNING, logger="lowrank"):
        (text,) = packed.generate_until(requests, disable_tqdm=True)
    assert "plain greedy" in caplog.text
    assert isinstance(text, str)
