"""The output head: log-probabilities in float32, and how much of it is held at once."""

import weakref

import numpy as np
import torch
from lowrank.evaluate.packed.head import score_tokens
from lowrank.evaluate.packed.lm import PackedLM
from random_models import SIZES, TOKENIZER, make_model
from stock import assert_same, stock

CONTEXT = "Question: what is the colour of the sky? Answer:"


def test_greedy_flags(packed):
    prompt = TOKENIZER.encode(CONTEXT)
    tokens = packed.model.generate(
        torch.tensor([prompt]), max_new_tokens=6, do_sample=False, pad_token_id=1
    )[0, len(prompt) :].tolist()
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


def test_half_precision_target_logits_are_exact():
    model = make_model(tie_word_embeddings=False).to(torch.bfloat16)
    hidden = torch.randn(5, 32, dtype=torch.bfloat16)
    places, targets = torch.arange(5).repeat_interleave(3), torch.arange(15)
    actual, _ = score_tokens(model, hidden, places.numpy(), targets.numpy())
    with torch.no_grad():
        exact = (hidden.double() @ model.lm_head.weight.double().T).log_softmax(-1)
    expected = exact[places, targets]
    stock_values = model.lm_head(hidden).log_softmax(-1)[places, targets]
    error = (torch.from_numpy(actual) - expected).abs().mean()
    assert error < 0.25 * (stock_values - expected).abs().mean()


def test_large_logits_in_half_precision_are_finite():
    """A logit of thousands is off by whole units in bfloat16, which is no reason to overflow."""
    model = make_model(tie_word_embeddings=False).to(torch.bfloat16)
    hidden = 2e5 * torch.randn(6, 32, dtype=torch.bfloat16)
    places, targets = torch.arange(6).repeat_interleave(320), torch.arange(320).repeat(6)
    actual, _ = score_tokens(model, hidden, places.numpy(), targets.numpy())
    assert np.isfinite(actual).all() and (actual <= 0).all()
    with torch.no_grad():
        exact = (hidden.double() @ model.lm_head.weight.double().T).log_softmax(-1)
        rounding = 2**-8 * float((hidden @ model.lm_head.weight.T).abs().max())
    assert np.abs(actual - exact[places, targets].numpy()).max() < 2 * rounding


def test_logits_of_a_block_are_freed_before_the_next(model, monkeypatch):
    monkeypatch.setattr(model.config, "vocab_size", 2**18)  # one row in a block of 256
    made = []
    head = model.get_output_embeddings()

    def watched(hidden):
        assert all(reference() is None for reference in made)
        logits = head(hidden)
        made.append(weakref.ref(logits))
        return logits

    monkeypatch.setattr(model, "get_output_embeddings", lambda: watched)
    hidden = torch.randn(600, SIZES["hidden_size"])
    score_tokens(model, hidden, np.arange(600), np.zeros(600, dtype=np.int64))
    assert len(made) == 3
