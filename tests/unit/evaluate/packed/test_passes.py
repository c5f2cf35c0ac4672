"""A prefix tree in passes: what is computed once, and what happens when memory ends."""

import itertools
import logging

import pytest
import torch
from lowrank.evaluate.packed.lm import PackedLM
from lowrank.evaluate.packed.tree import CostModel
from random_models import TOKENIZER, many_pairs
from stock import CPU_OUT_OF_MEMORY, assert_same, compare, instances, stock


@pytest.mark.parametrize("batch_tokens", [1, 7, 30, 64, 100, 10_000])
def test_left_over_rows(model, batch_tokens):
    compare(PackedLM(model, TOKENIZER, batch_tokens=batch_tokens), many_pairs())


def test_shared_prefix_is_computed_once(model, monkeypatch):
    lm = PackedLM(model, TOKENIZER, batch_tokens=64)
    preamble = "z" * 60
    pairs = [(f"{preamble}{a}{b}", f"{c} mat") for a, b, c in itertools.product("abcd", repeat=3)]
    computed = []
    hidden = lm.passes.hidden_states

    def counting(ids, *args):
        computed.append(ids.size)
        return hidden(ids, *args)

    monkeypatch.setattr(lm.passes, "hidden_states", counting)
    expected = stock(model, 16).loglikelihood(instances(pairs), disable_tqdm=True)
    assert_same(lm.loglikelihood(instances(pairs), disable_tqdm=True), expected)
    assert sum(computed) < 60 + 64 * 4
    assert computed[0] == 60


@pytest.mark.parametrize("limit", [12, 90])
def test_out_of_memory_loses_nothing(model, limit, monkeypatch, caplog):
    lm = PackedLM(model, TOKENIZER, batch_tokens=400)
    hidden = lm.passes.hidden_states
    passes = []

    def small(ids, *args):
        if ids.size > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        passes.append(ids.size)
        return hidden(ids, *args)

    monkeypatch.setattr(lm.passes, "hidden_states", small)
    lm.passes._cost = CostModel(400, 400, 100.0, 0.0)
    pairs = [(a + b, " fox jumps over") for a in "abcdefg" for b in "VWXYZ"]
    with caplog.at_level(logging.WARNING, logger="lowrank"):
        compare(lm, pairs)
    assert lm.passes.cost.batch_tokens < 400
    assert "Out of memory" in caplog.text


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
    monkeypatch.setattr(lm.passes, "hidden_states", refusing(lm.passes.hidden_states, limit))
    pairs = [("z" * 60 + a, f"{b} fox") for a in "abcd" for b in "VWXYZ"]
    compare(lm, [*pairs, ("y" * 80, " fox"), ("", "q" * 70)])
    assert lm.passes.cost.batch_tokens <= limit


def test_other_errors_are_no_lack_of_memory(model, monkeypatch):
    lm = PackedLM(model, TOKENIZER)

    def fail(*_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(lm.passes, "hidden_states", fail)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        lm.loglikelihood(instances(many_pairs()), disable_tqdm=True)


def test_masks_with_padded_rows(model, monkeypatch):
    """The layout for a GPU, whose kernels want rows of eight keys."""
    lm = PackedLM(model, TOKENIZER, batch_tokens=64)
    lm.passes.key_multiple, hidden, keys = 8, lm.passes.hidden_states, []

    def recorded(ids, positions, visible, cache=None):
        keys.append(visible.shape[-1])
        return hidden(ids, positions, visible, cache)

    monkeypatch.setattr(lm.passes, "hidden_states", recorded)
    compare(lm, many_pairs())
    assert sum(count % 8 == 0 for count in keys) > 1


def test_out_of_memory_at_the_least_is_raised(model, monkeypatch):
    lm = PackedLM(model, TOKENIZER)

    def none(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(lm.passes, "hidden_states", none)
    with pytest.raises(torch.OutOfMemoryError):
        lm.loglikelihood(instances(many_pairs()), disable_tqdm=True)
