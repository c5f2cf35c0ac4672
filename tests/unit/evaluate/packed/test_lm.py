"""Tests of packed scoring against lm-eval's own HFLM, on tiny models."""

import copy
import itertools
import logging
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM
from lm_eval.models.huggingface import HFLM
from lowrank.evaluate.packed import greedy as generation
from lowrank.evaluate.packed.greedy import GreedyGenerator, plain_greedy
from lowrank.evaluate.packed.lm import PackedLM, attention_window, unsupported_reason
from lowrank.evaluate.packed.tree import CostModel
from random_models import (
    CHOICES,
    CORPUS,
    MAX_LENGTH,
    SIZES,
    TOKENIZER,
    make_model,
    many_pairs,
)
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def model(request):
    return make_model(tie_word_embeddings=request.param)


@pytest.fixture(scope="module")
def packed(model):
    lm = PackedLM(model, TOKENIZER)
    assert lm.reason is None
    return lm


def stock(model, batch_size=3, **kwargs):
    return HFLM(
        pretrained=model, tokenizer=TOKENIZER, backend="causal", batch_size=batch_size, **kwargs
    )


def own_records(caplog):
    return [record for record in caplog.records if record.name.startswith("lowrank")]


def instances(pairs, kind="loglikelihood"):
    return [Instance(kind, {}, pair, k) for k, pair in enumerate(pairs)]


SPREAD = 3e-5
"""What stock log-likelihoods in float32 differ by between batch sizes, on real models; on these
tiny ones it is a tenth of it."""


def assert_same(actual, expected, tolerance=SPREAD):
    assert len(actual) == len(expected)
    for (value, greedy), (expected_value, expected_greedy) in zip(actual, expected, strict=True):
        assert type(value) is float
        assert type(greedy) is bool
        # Stock adds up in float32, which for hundreds of nats is coarser than the spread.
        rounding = abs(expected_value) * 2**-23
        assert value == pytest.approx(expected_value, abs=max(tolerance, rounding))
        assert greedy == expected_greedy


def compare(lm, pairs, **kwargs):
    requests = instances(pairs)
    expected = stock(lm.model, **kwargs).loglikelihood(requests, disable_tqdm=True)
    actual = lm.loglikelihood(requests, disable_tqdm=True)
    assert_same(actual, expected)
    return actual


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


@pytest.mark.parametrize("batch_tokens", [1, 7, 30, 64, 100, 10_000])
def test_left_over_rows(model, batch_tokens):
    compare(PackedLM(model, TOKENIZER, batch_tokens=batch_tokens), many_pairs())


def test_order_does_not_matter(packed):
    pairs = many_pairs()
    forwards = packed.loglikelihood(instances(pairs), disable_tqdm=True)
    backwards = packed.loglikelihood(instances(pairs[::-1]), disable_tqdm=True)
    assert_same(backwards[::-1], forwards, tolerance=1e-5)


def test_shared_prefix_is_computed_once(model, monkeypatch):
    lm = PackedLM(model, TOKENIZER, batch_tokens=64)
    preamble = "z" * 60
    pairs = [(f"{preamble}{a}{b}", f"{c} mat") for a, b, c in itertools.product("abcd", repeat=3)]
    computed = []
    hidden = lm._hidden

    def counting(ids, *args):
        computed.append(ids.size)
        return hidden(ids, *args)

    monkeypatch.setattr(lm, "_hidden", counting)
    expected = stock(model, 16).loglikelihood(instances(pairs), disable_tqdm=True)
    assert_same(lm.loglikelihood(instances(pairs), disable_tqdm=True), expected)
    assert sum(computed) < 60 + 64 * 4
    assert computed[0] == 60


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
    lm._cost = None
    lm._batch_tokens = batch_tokens
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


def test_greedy_flags(packed):
    generated = stock(packed.model, 1).generate_until(
        instances([(CONTEXT, {"until": [], "max_gen_toks": 6})], "generate_until"),
        disable_tqdm=True,
    )[0]
    prompt = TOKENIZER.encode(CONTEXT)
    tokens = packed.model.generate(
        torch.tensor([prompt]), max_new_tokens=6, do_sample=False, pad_token_id=1
    )[0, len(prompt) :].tolist()
    assert generated is not None
    wrong = [*tokens[:-1], (tokens[-1] + 1) % len(TOKENIZER)]
    requests = [(None, prompt, tokens), (None, prompt, wrong), (None, prompt, tokens[:1])]
    flags = [greedy for _, greedy in packed._loglikelihood_tokens(requests, disable_tqdm=True)]
    assert flags == [True, False, True]


def test_ties_are_broken_as_by_stock():
    model = make_model(tie_word_embeddings=False)
    with torch.no_grad():
        model.lm_head.weight.copy_(model.lm_head.weight[:1].expand_as(model.lm_head.weight))
    requests = [(None, [5, 6, 7], [token]) for token in (0, 1, 9)]
    lm = PackedLM(model, TOKENIZER)
    expected = stock(model)._loglikelihood_tokens(requests, disable_tqdm=True)
    assert_same(lm._loglikelihood_tokens(requests, disable_tqdm=True), expected)
    assert [greedy for _, greedy in expected] == [True, False, False]


def test_rolling(packed):
    requests = instances([(" ".join(CORPUS * 3),), ("the fox",)], "loglikelihood_rolling")
    expected = stock(packed.model).loglikelihood_rolling(requests, disable_tqdm=True)
    actual = packed.loglikelihood_rolling(requests, disable_tqdm=True)
    assert actual == pytest.approx(expected, abs=1e-4)  # a sum over 200 tokens


@pytest.mark.parametrize(
    ("model_class", "config_class", "changes"),
    [
        (MistralForCausalLM, MistralConfig, {"sliding_window": None}),
        (MistralForCausalLM, MistralConfig, {"sliding_window": 64}),
        (Qwen2ForCausalLM, Qwen2Config, {}),
        (Qwen3ForCausalLM, Qwen3Config, {}),
        (LlamaForCausalLM, LlamaConfig, {"num_key_value_heads": 4}),
        (LlamaForCausalLM, LlamaConfig, {"attn_implementation": "eager"}),
        (
            LlamaForCausalLM,
            LlamaConfig,
            {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
        ),
    ],
)
def test_verified_architectures(model_class, config_class, changes, caplog):
    model = make_model(model_class, config_class, **changes)
    with caplog.at_level(logging.WARNING, logger="lowrank.evaluate.packed.lm"):
        lm = PackedLM(model, TOKENIZER, batch_tokens=64)
        compare(lm, many_pairs())
    assert lm.reason is None
    assert not own_records(caplog)


@pytest.mark.parametrize(
    ("model_class", "config_class"),
    [(MistralForCausalLM, MistralConfig), (Qwen2ForCausalLM, Qwen2Config)],
)
def test_short_sliding_window_falls_back(model_class, config_class, caplog):
    changes = {"sliding_window": 12, "use_sliding_window": True, "max_window_layers": 1}
    model = make_model(model_class, config_class, **changes)
    assert attention_window(model) == 12
    lm = PackedLM(model, TOKENIZER)
    with caplog.at_level(logging.WARNING, logger="lowrank.evaluate.packed.lm"):
        compare(lm, [("the quick", " fox"), ("the lazy", " fox")])
        assert not own_records(caplog)
        assert lm.fallback is None
        compare(lm, many_pairs())
    assert "sliding window of 12 tokens" in caplog.text
    assert "sliding window of 12 tokens" in lm.fallback


def test_learned_positions_fall_back(caplog):
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(TOKENIZER), n_embd=32, n_layer=2, n_head=4, n_positions=MAX_LENGTH
    )
    model = GPT2LMHeadModel(config).eval()
    with caplog.at_level(logging.WARNING, logger="lowrank.evaluate.packed.lm"):
        lm = PackedLM(model, TOKENIZER)
    assert "'gpt2' is not verified" in caplog.text
    compare(lm, many_pairs())
    settings = {"until": ["\n"], "max_gen_toks": 4}
    requests = instances([("the quick", settings)], "generate_until")
    expected = stock(model).generate_until(requests, disable_tqdm=True)
    assert lm.generate_until(requests, disable_tqdm=True) == expected


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_type": "mpt"}, "'mpt' is not verified"),
        ({"layer_types": ["linear_attention"]}, "not verified"),
        ({"rope_parameters": {"rope_type": "dynamic"}}, "length of the input"),
        ({"_attn_implementation": "flash_attention_2"}, "no 4D mask"),
    ],
)
def test_unsupported_configurations(changes, reason):
    model = make_model()
    model.config = copy.copy(model.config)
    for name, value in changes.items():
        object.__setattr__(model.config, name, value)
    assert reason in unsupported_reason(model)


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


def test_a_model_of_nothing_but_nan_is_not_trusted():
    model = make_model()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.fill_(float("nan"))
    assert "does not follow" in PackedLM(model, TOKENIZER).reason


def test_model_that_ignores_positions_falls_back(caplog):
    model = make_model()
    forward = model.model.forward

    def stubborn(*args, position_ids=None, **kwargs):
        return forward(*args, **kwargs)

    model.model.forward = stubborn
    with caplog.at_level(logging.WARNING, logger="lowrank.evaluate.packed.lm"):
        lm = PackedLM(model, TOKENIZER)
    assert "does not follow" in lm.reason
    compare(lm, many_pairs())


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
    requests = instances(many_pairs())
    truth = stock(full).loglikelihood(requests, disable_tqdm=True)

    def deviation(lm):
        answers = lm.loglikelihood(requests, disable_tqdm=True)
        return max(abs(a[0] - b[0]) for a, b in zip(answers, truth, strict=True))

    assert deviation(PackedLM(half, TOKENIZER)) <= deviation(stock(half))


def test_half_precision_target_logits_are_exact():
    model = make_model(tie_word_embeddings=False).to(torch.bfloat16)
    lm = PackedLM(model, TOKENIZER)
    hidden = torch.randn(5, 32, dtype=torch.bfloat16)
    places, targets = torch.arange(5).repeat_interleave(3), torch.arange(15)
    actual, _ = lm._score_tokens(hidden, places.numpy(), targets.numpy())
    with torch.no_grad():
        exact = (hidden.double() @ model.lm_head.weight.double().T).log_softmax(-1)
    expected = exact[places, targets]
    stock_values = model.lm_head(hidden).log_softmax(-1)[places, targets]
    error = (torch.from_numpy(actual) - expected).abs().mean()
    assert error < 0.25 * (stock_values - expected).abs().mean()


@pytest.mark.parametrize("limit", [12, 90])
def test_out_of_memory_loses_nothing(model, limit, monkeypatch, caplog):
    lm = PackedLM(model, TOKENIZER, batch_tokens=400)
    hidden = lm._hidden
    passes = []

    def small(ids, *args):
        if ids.size > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        passes.append(ids.size)
        return hidden(ids, *args)

    monkeypatch.setattr(lm, "_hidden", small)
    lm._cost = CostModel(400, 400, 100.0, 0.0)
    pairs = [(a + b, " fox jumps over") for a in "abcdefg" for b in "VWXYZ"]
    with caplog.at_level(logging.WARNING, logger="lowrank.evaluate.packed.lm"):
        compare(lm, pairs)
    assert lm.cost.batch_tokens < 400
    assert "Out of memory" in caplog.text


CPU_OUT_OF_MEMORY = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"


def refusing(hidden, limit):
    """Passes on a processor with memory for `limit` tokens."""

    def refused(ids, *arguments):
        if ids.size > limit:
            raise RuntimeError(CPU_OUT_OF_MEMORY)
        return hidden(ids, *arguments)

    return refused


@pytest.mark.parametrize("limit", [9, 40])
def test_what_fits_no_pass_is_computed_in_parts(model, limit, monkeypatch):
    """A shared prefix, and one sequence, that are each longer than memory allows for."""
    lm = PackedLM(model, TOKENIZER, batch_tokens=400)
    monkeypatch.setattr(lm, "_hidden", refusing(lm._hidden, limit))
    pairs = [("z" * 60 + a, f"{b} fox") for a in "abcd" for b in "VWXYZ"]
    compare(lm, [*pairs, ("y" * 80, " fox"), ("", "q" * 70)])
    assert lm.cost.batch_tokens <= limit


def test_other_errors_are_no_lack_of_memory(model, monkeypatch):
    lm = PackedLM(model, TOKENIZER)

    def fail(*_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(lm, "_hidden", fail)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        lm.loglikelihood(instances(many_pairs()), disable_tqdm=True)


@pytest.mark.parametrize(
    ("free", "expected"), [(1e9, 4096), (1.1e9, 4096), (9e8, 2048), (1e15, 32768), (0, 256)]
)
def test_tokens_that_fit_a_gpu_are_a_power_of_two(model, free, expected, monkeypatch):
    """Two passes of 1024 and 4096 tokens that peak at 100 kB a token, on top of what was there."""
    lm, peaks = PackedLM(model, TOKENIZER), []
    score_tokens = lm._score_tokens

    def scored(hidden, places, targets):
        peaks.append(5e8 + 1e5 * len(places))
        return score_tokens(hidden, places, targets)

    monkeypatch.setattr(lm, "_score_tokens", scored)
    fakes = {
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda _: None,
        "memory_allocated": lambda _: 5e8,
        "max_memory_allocated": lambda _: peaks[-1],
        "mem_get_info": lambda _: (free, 8e10),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    assert lm._measured_batch_tokens() == expected
    assert len(peaks) == 2


def test_masks_with_padded_rows(model, monkeypatch):
    """The layout for a GPU, whose kernels want rows of eight keys."""
    lm = PackedLM(model, TOKENIZER, batch_tokens=64)
    lm._key_multiple, hidden, keys = 8, lm._hidden, []

    def recorded(ids, positions, visible, cache=None):
        keys.append(visible.shape[-1])
        return hidden(ids, positions, visible, cache)

    monkeypatch.setattr(lm, "_hidden", recorded)
    compare(lm, many_pairs())
    assert sum(count % 8 == 0 for count in keys) > 1


def test_logits_of_a_block_are_freed_before_the_next(model, monkeypatch):
    lm = PackedLM(model, TOKENIZER)
    monkeypatch.setattr(PackedLM, "_vocabulary", 2**18)  # one row in a block of 256
    made = []
    head = lm.model.get_output_embeddings()

    def watched(hidden):
        assert all(reference() is None for reference in made)
        logits = head(hidden)
        made.append(weakref.ref(logits))
        return logits

    monkeypatch.setattr(lm.model, "get_output_embeddings", lambda: watched)
    hidden = torch.randn(600, SIZES["hidden_size"])
    lm._score_tokens(hidden, np.arange(600), np.zeros(600, dtype=np.int64))
    assert len(made) == 3


def test_out_of_memory_at_the_least_is_raised(model, monkeypatch):
    lm = PackedLM(model, TOKENIZER)

    def none(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(lm, "_hidden", none)
    with pytest.raises(torch.OutOfMemoryError):
        lm.loglikelihood(instances(many_pairs()), disable_tqdm=True)


def test_answers_reach_the_cache(packed, tmp_path):
    caching = CachingLM(packed, str(tmp_path / "cache.db"))
    requests = instances(many_pairs())
    try:
        first = caching.loglikelihood(requests)
        assert len(caching.dbdict) == len({r.args for r in requests})
        assert_same(caching.loglikelihood(requests), first)
    finally:
        packed.set_cache_hook(type(packed.cache_hook)(None))


def test_batch_tokens_are_checked(model):
    with pytest.raises(ValueError, match="at least 1"):
        PackedLM(model, TOKENIZER, batch_tokens=0)


# ---- generation ------------------------------------------------------------------------------

SHOTS = "Q: the sky\nA: blue\n\nQ: the dog\nA: lazy\n\n"
CONTEXTS = [f"{SHOTS}Q: {q}\nA:" for q in ("fox", "the quick fox", "cat", "mat mat mat", "fox")]


def generation_requests(contexts, **settings):
    return instances([(context, dict(settings)) for context in contexts], "generate_until")


@pytest.mark.parametrize(
    "settings",
    [
        {"until": ["\n"], "max_gen_toks": 12, "do_sample": False},
        {"until": [], "max_gen_toks": 20},
        {"until": "e", "max_gen_toks": 20},
        {"until": ["zz", "th", "x", "q"], "max_gen_toks": 20, "temperature": 0.0},
        {"until": ["never ever"], "max_gen_toks": 1},
        {"until": ["Q:", "</s>"], "max_new_tokens": 8},
    ],
)
@pytest.mark.parametrize("rows", [1, 2, 32])
def test_generation_same_as_stock(packed, settings, rows, monkeypatch):
    monkeypatch.setattr(packed, "_max_length", 128)
    monkeypatch.setattr(packed.model.config, "max_position_embeddings", 128)
    contexts = [*CONTEXTS, "something else", "x"]
    requests = generation_requests(contexts, **settings)
    reference = stock(packed.model, 1, max_length=128)
    expected = reference.generate_until(requests, disable_tqdm=True)
    generator = GreedyGenerator(packed, rows)
    assert generator.generate([r.args for r in requests], True) == expected
    assert packed.generate_until(requests, disable_tqdm=True) == expected


def test_generation_stops_at_what_it_generates(packed):
    whole = stock(packed.model, 1).generate_until(
        generation_requests(["the quick"], until=[], max_gen_toks=16), disable_tqdm=True
    )[0]
    assert len(whole) > 4
    for stop in (whole[2], whole[3:5]):
        requests = generation_requests(["the quick", "the lazy"], until=[stop], max_gen_toks=16)
        expected = stock(packed.model, 1).generate_until(requests, disable_tqdm=True)
        assert packed.generate_until(requests, disable_tqdm=True) == expected
        assert expected[0] == whole[: whole.index(stop)]


def test_generation_ends_at_the_end_of_the_text(monkeypatch):
    model = make_model()
    prompt = TOKENIZER.encode("the quick")
    with torch.no_grad():
        tokens = model.generate(torch.tensor([prompt]), max_new_tokens=5, do_sample=False)
    model.generation_config.eos_token_id = [1, int(tokens[0, len(prompt) + 3])]
    requests = generation_requests(["the quick", "the lazy dog", "fox"], until=[], max_gen_toks=9)
    expected = stock(model, 1).generate_until(requests, disable_tqdm=True)
    assert PackedLM(model, TOKENIZER).generate_until(requests, disable_tqdm=True) == expected


def test_generation_truncates_contexts(packed):
    requests = generation_requests(["z" * 200, "y" * 93, "z" * 201], until=[], max_gen_toks=6)
    expected = stock(packed.model, 1).generate_until(requests, disable_tqdm=True)
    assert packed.generate_until(requests, disable_tqdm=True) == expected


def test_generation_without_room(packed):
    requests = generation_requests(["fox"], until=[], max_gen_toks=MAX_LENGTH)
    with pytest.raises(ValueError, match="leave no room"):
        packed.generate_until(requests, disable_tqdm=True)


def test_generation_with_different_settings(packed):
    requests = generation_requests(CONTEXTS[:2], until=["\n"], max_gen_toks=5)
    requests += generation_requests(CONTEXTS[1:3], until=["e"], max_gen_toks=9)
    expected = stock(packed.model, 1).generate_until(requests, disable_tqdm=True)
    assert packed.generate_until(requests, disable_tqdm=True) == expected


def test_generation_with_removed_layers():
    model = make_model()
    del model.model.layers[2]
    model.config.num_hidden_layers -= 1
    lm = PackedLM(model, TOKENIZER)
    requests = generation_requests(CONTEXTS, until=[], max_gen_toks=9)
    expected = stock(model, 1).generate_until(requests, disable_tqdm=True)
    assert lm.generate_until(requests, disable_tqdm=True) == expected


@pytest.mark.parametrize(
    ("model_class", "config_class", "changes"),
    [
        (MistralForCausalLM, MistralConfig, {"sliding_window": None}),
        (MistralForCausalLM, MistralConfig, {"sliding_window": 70}),
        (Qwen2ForCausalLM, Qwen2Config, {}),
        (Qwen3ForCausalLM, Qwen3Config, {}),
        (LlamaForCausalLM, LlamaConfig, {"attn_implementation": "eager"}),
    ],
)
def test_generation_of_verified_architectures(model_class, config_class, changes, caplog):
    model = make_model(model_class, config_class, **changes)
    lm = PackedLM(model, TOKENIZER)
    requests = generation_requests(CONTEXTS, until=["\n"], max_gen_toks=12)
    expected = stock(model, 1).generate_until(requests, disable_tqdm=True)
    with caplog.at_level(logging.WARNING, logger="lowrank"):
        assert lm.generate_until(requests, disable_tqdm=True) == expected
    assert lm.fallback is None and not own_records(caplog)


def test_generation_in_half_precision():
    """Each token is the likeliest to half precision, by plain passes over whole texts.

    Stock's texts are no measure: they differ between batch sizes.
    """
    model = make_model().to(torch.bfloat16)
    lm, made = PackedLM(model, TOKENIZER), {}
    generator = GreedyGenerator(lm)
    finish = generator._finish

    def recorded(tree, *arguments):
        for member, tokens in finish(tree, *arguments):
            made[tree.sequences[member]] = tokens
            yield member, tokens

    generator._finish = recorded
    requests = generation_requests(CONTEXTS, until=[], max_gen_toks=8)
    generator.generate([request.args for request in requests], True)
    assert len(made) == len(set(CONTEXTS))
    for context, tokens in made.items():
        with torch.no_grad():
            logits = model(torch.tensor([[*context, *tokens]])).logits[0, len(context) - 1 : -1]
        chosen = logits.gather(1, torch.tensor(tokens)[:, None])[:, 0]
        assert len(tokens) == 8 or tokens[-1] == 1
        assert (logits.max(1).values - chosen).max() <= 2**-6 * logits.abs().max()


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


def test_generation_computes_a_prefix_in_parts_where_memory_ends(packed, monkeypatch):
    requests = generation_requests(CONTEXTS, until=[], max_gen_toks=5)
    expected = stock(packed.model, 1).generate_until(requests, disable_tqdm=True)
    body, passes = generation.final_hidden_states, []

    def refused(model, ids, *arguments):
        if ids.shape[0] == 1 and ids.shape[1] > 9:
            raise RuntimeError(CPU_OUT_OF_MEMORY)
        passes.append(ids.shape)
        return body(model, ids, *arguments)

    monkeypatch.setattr(generation, "final_hidden_states", refused)
    assert packed.generate_until(requests, disable_tqdm=True) == expected
    assert [shape[0] for shape in passes[:3]] == [1, 1, 1]


def test_generation_out_of_memory_loses_nothing(packed, monkeypatch):
    requests = generation_requests(CONTEXTS, until=[], max_gen_toks=5)
    expected = stock(packed.model, 1).generate_until(requests, disable_tqdm=True)
    generator = GreedyGenerator(packed)
    whole_batch = generator._generate_batch

    def small(suffixes, *args):
        if len(suffixes) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole_batch(suffixes, *args)

    monkeypatch.setattr(generator, "_generate_batch", small)
    assert generator.generate([r.args for r in requests], True) == expected


def test_sampling_falls_back(packed, caplog):
    requests = generation_requests(
        ["fox"], until=[], max_gen_toks=3, do_sample=True, temperature=1.0
    )
    assert not plain_greedy(packed, requests[0].args[1])
    with caplog.at_level(logging.WARNING, logger="lowrank.evaluate.packed.lm"):
        (text,) = packed.generate_until(requests, disable_tqdm=True)
    assert "plain greedy" in caplog.text
    assert isinstance(text, str)


def test_generation_configuration_of_the_model_counts(monkeypatch):
    lm = PackedLM(make_model(), TOKENIZER)
    assert plain_greedy(lm, {"until": []})
    monkeypatch.setattr(lm.model.generation_config, "repetition_penalty", 1.5)
    assert not plain_greedy(lm, {"until": []})
