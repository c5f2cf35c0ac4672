"""Which models are scored in packed rows, and how much goes into a pass."""

import copy
import logging

import pytest
import torch
from lowrank.evaluate.packed import limits
from lowrank.evaluate.packed.limits import attention_window, unsupported_reason
from lowrank.evaluate.packed.lm import PackedLM
from random_models import TOKENIZER, make_model, many_pairs
from stock import compare, own_records
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)


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
    with caplog.at_level(logging.WARNING, logger="lowrank"):
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
    with caplog.at_level(logging.WARNING, logger="lowrank"):
        compare(lm, [("the quick", " fox"), ("the lazy", " fox")])
        assert not own_records(caplog)
        assert lm.fallback is None
        compare(lm, many_pairs())
    assert "sliding window of 12 tokens" in caplog.text
    assert "sliding window of 12 tokens" in lm.fallback


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


@pytest.mark.parametrize(
    ("dtype", "weight"),
    [(torch.float32, float("nan")), (torch.float32, float("inf")), (torch.float16, 6e4)],
)
def test_a_model_that_is_not_finite_is_called_that(dtype, weight):
    model = make_model().to(dtype)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.fill_(weight)
    name = str(dtype).removeprefix("torch.")
    reason = f"the model's own hidden states are not finite in {name}"
    assert PackedLM(model, TOKENIZER).reason == reason


def test_a_model_that_is_finite_but_in_packed_rows_does_not_follow_them(monkeypatch):
    packed = limits.hidden_states
    monkeypatch.setattr(limits, "hidden_states", lambda *a: packed(*a) * float("nan"))
    assert "does not follow" in PackedLM(make_model(), TOKENIZER).reason


def test_model_that_ignores_positions_falls_back(caplog):
    model = make_model()
    forward = model.model.forward

    def stubborn(*args, position_ids=None, **kwargs):
        return forward(*args, **kwargs)

    model.model.forward = stubborn
    with caplog.at_level(logging.WARNING, logger="lowrank"):
        lm = PackedLM(model, TOKENIZER)
    assert "does not follow" in lm.reason
    compare(lm, many_pairs())


@pytest.mark.parametrize(
    ("free", "expected"), [(1e9, 4096), (1.1e9, 4096), (9e8, 2048), (1e15, 32768), (0, 256)]
)
def test_tokens_that_fit_a_gpu_are_a_power_of_two(model, free, expected, monkeypatch):
    """Two passes of 1024 and 4096 tokens that peak at 100 kB a token, on top of what was there."""
    score_tokens, peaks = limits.score_tokens, []

    def scored(model, hidden, places, targets):
        peaks.append(5e8 + 1e5 * len(places))
        return score_tokens(model, hidden, places, targets)

    monkeypatch.setattr(limits, "score_tokens", scored)
    fakes = {
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda _: None,
        "memory_allocated": lambda _: 5e8,
        "max_memory_allocated": lambda _: peaks[-1],
        "mem_get_info": lambda _: (free, 8e10),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    assert limits.measured_batch_tokens(model) == expected
    assert len(peaks) == 2
