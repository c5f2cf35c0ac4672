"""Greedy generation against lm-eval's own HFLM, on tiny models."""

import logging

import pytest
import torch
from lowrank.evaluate.packed import greedy
from lowrank.evaluate.packed.greedy import GreedyGenerator, plain_greedy
from lowrank.evaluate.packed.lm import PackedLM
from random_models import MAX_LENGTH, TOKENIZER, make_model
from stock import CONTEXTS, CPU_OUT_OF_MEMORY, generation_requests, own_records, stock
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


def test_generation_computes_a_prefix_in_parts_where_memory_ends(packed, monkeypatch):
    requests = generation_requests(CONTEXTS, until=[], max_gen_toks=5)
    expected = stock(packed.model, 1).generate_until(requests, disable_tqdm=True)
    body, passes = greedy.final_hidden_states, []

    def refused(model, ids, *arguments):
        if ids.shape[0] == 1 and ids.shape[1] > 9:
            raise RuntimeError(CPU_OUT_OF_MEMORY)
        passes.append(ids.shape)
        return body(model, ids, *arguments)

    monkeypatch.setattr(greedy, "final_hidden_states", refused)
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


def test_generation_configuration_of_the_model_counts(monkeypatch):
    lm = PackedLM(make_model(), TOKENIZER)
    assert plain_greedy(lm, {"until": []})
    monkeypatch.setattr(lm.model.generation_config, "repetition_penalty", 1.5)
    assert not plain_greedy(lm, {"until": []})
