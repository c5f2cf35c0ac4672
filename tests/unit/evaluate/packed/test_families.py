"""Packed scores of every causal family against lm-eval's own, on tiny models."""

import logging

import pytest
import tiny_families
import torch
from lowrank.evaluate.packed.limits import VERIFIED_MODEL_TYPES, attention_window
from lowrank.evaluate.packed.lm import PackedLM
from random_models import CORPUS, MAX_LENGTH, TOKENIZER, many_pairs
from stock import CONTEXTS, compare, generation_requests, instances, own_records, stock
from tiny_families import DECODERS, WINDOWS, config_of

SIZES = {"vocab_size": len(TOKENIZER), "max_position_embeddings": MAX_LENGTH}
KINDS = {name: config_of(name, **SIZES) for name in DECODERS}
KINDS |= {
    "gemma2 without caps": config_of(
        "gemma2", **SIZES, final_logit_softcapping=None, attn_logit_softcapping=None
    ),
    "gemma2 of a low cap": config_of("gemma2", **SIZES) | {"final_logit_softcapping": 0.5},
    "gemma3_text scaled": config_of(
        "gemma3_text",
        **SIZES,
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    ),
    "phi3 with a window": config_of("phi3", **SIZES, sliding_window=MAX_LENGTH),
    "qwen3 with windows": config_of("qwen3", **SIZES, **WINDOWS | {"sliding_window": MAX_LENGTH}),
}


def test_all_causal_families_are_tried():
    assert {*DECODERS} == VERIFIED_MODEL_TYPES


@pytest.mark.parametrize("kind", KINDS)
def test_packed_scores_are_those_of_stock(kind, caplog):
    with caplog.at_level(logging.WARNING, logger="lowrank"):
        lm = PackedLM(tiny_families.made(KINDS[kind]), TOKENIZER, batch_tokens=64)
        compare(lm, many_pairs())
        texts = instances([(" ".join(CORPUS * 2),), ("the fox",)], "loglikelihood_rolling")
        expected = stock(lm.model).loglikelihood_rolling(texts, disable_tqdm=True)
        assert lm.loglikelihood_rolling(texts, disable_tqdm=True) == pytest.approx(
            expected, abs=1e-4
        )
    assert lm.reason is None and lm.fallback is None
    assert not own_records(caplog)


@pytest.mark.parametrize("kind", KINDS)
def test_generated_texts_are_those_of_stock(kind):
    lm = PackedLM(tiny_families.made(KINDS[kind]), TOKENIZER)
    requests = generation_requests(CONTEXTS, until=["\n"], max_gen_toks=8, do_sample=False)
    expected = stock(lm.model).generate_until(requests, disable_tqdm=True)
    assert lm.generate_until(requests, disable_tqdm=True) == expected
    assert lm.fallback is None


@pytest.mark.parametrize("kind", ["gemma2", "gemma2 of a low cap", "gemma3_text", "qwen3"])
def test_half_precision_is_as_near_to_float32_as_stock(kind):
    requests = instances(many_pairs())
    exact = stock(tiny_families.made(KINDS[kind])).loglikelihood(requests, disable_tqdm=True)
    half = tiny_families.made(KINDS[kind]).to(torch.bfloat16)
    lm = PackedLM(half, TOKENIZER)
    assert lm.reason is None
    theirs = stock(half, softmax_dtype="float32").loglikelihood(requests, disable_tqdm=True)
    ours = lm.loglikelihood(requests, disable_tqdm=True)

    def error(found):
        return sum(abs(a[0] - b[0]) for a, b in zip(found, exact, strict=True)) / len(exact)

    assert error(ours) < max(1.2 * error(theirs), 0.02)


@pytest.mark.parametrize(
    "config",
    [
        config_of("gemma2", **SIZES, sliding_window=12),
        config_of("gemma3_text", **SIZES, sliding_window=12),
        config_of("phi3", **SIZES, sliding_window=12),
        config_of("qwen3", **SIZES, **WINDOWS | {"sliding_window": 12}),
    ],
    ids=lambda config: config["model_type"],
)
def test_texts_longer_than_a_window_are_left_to_stock(config, caplog):
    lm = PackedLM(tiny_families.made(config), TOKENIZER)
    assert attention_window(lm.model) == 12
    with caplog.at_level(logging.WARNING, logger="lowrank"):
        compare(lm, [("the quick", " fox"), ("the lazy", " fox")])
        assert lm.fallback is None
        compare(lm, many_pairs())
    assert "sliding window of 12 tokens" in lm.fallback
    assert lm.fallback in caplog.text


LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "rope_theta": 1e4,
    "partial_rotary_factor": 1.0,
    "original_max_position_embeddings": 32,
}


@pytest.mark.parametrize(
    ("config", "rope"),
    [
        (config_of("phi3", **SIZES, rope_parameters=LONGROPE), "longrope"),
        (
            config_of(
                "gemma3_text",
                **SIZES,
                rope_parameters={
                    "full_attention": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e6},
                    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
                },
            ),
            "dynamic",
        ),
    ],
    ids=["phi3", "gemma3_text"],
)
def test_positions_that_depend_on_the_length_are_left_to_stock(config, rope, caplog):
    with caplog.at_level(logging.WARNING, logger="lowrank"):
        lm = PackedLM(tiny_families.made(config), TOKENIZER, batch_size=3)
        compare(lm, [("the quick", " fox"), ("the lazy", " fox")])
    assert f"rotary embedding '{rope}' depends on the length of the input" in lm.reason
    assert lm.reason in caplog.text


def test_a_model_that_changes_its_logits_is_left_to_stock():
    """Whatever is between the head and the logits, a small row shows it."""
    model = tiny_families.made(KINDS["mistral"])
    forward = model.forward

    def scaled(*arguments, **named):
        outputs = forward(*arguments, **named)
        outputs.logits = outputs.logits * 0.5
        return outputs

    model.forward = scaled
    lm = PackedLM(model, TOKENIZER)
    assert lm.reason == "the model's logits are not what its head makes of its hidden states"
    compare(lm, many_pairs())
