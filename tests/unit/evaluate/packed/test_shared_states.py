"""Hidden states shared between configurations: the same scores to the last bit, for less work."""

import copy
import os
import shutil

import pytest
import tiny
import torch
from lm_eval.api.instance import Instance
from lowrank.decompose.linear import LowRankLinear
from lowrank.evaluate import causal
from lowrank.evaluate.packed import shared_states
from lowrank.evaluate.packed.lm import PackedLM
from lowrank.evaluate.packed.passes import Passes
from lowrank.evaluate.packed.shared_states import SharedStates, tail
from lowrank.running.variables import surroundings
from random_models import TOKENIZER, make_model, many_pairs

LAYERS = 5
KEY = ("a model", "float32", 1)


@pytest.fixture(scope="module")
def dense():
    return make_model(num_hidden_layers=LAYERS)


def with_low_rank_layer(dense, layer):
    """A copy of the model whose layer (counted from 0) has a rank-1 weight in its MLP."""
    model = copy.deepcopy(dense)
    mlp = model.model.layers[layer].mlp
    left, values, right = torch.linalg.svd(mlp.up_proj.weight.data, full_matrices=False)
    mlp.up_proj = LowRankLinear(left[:, :1] * values[:1], right[:1], None)
    return model


def without_layers(dense, dropped):
    model = copy.deepcopy(dense)
    kept = [layer for k, layer in enumerate(model.model.layers) if k not in dropped]
    for index, layer in enumerate(kept):
        layer.self_attn.layer_idx = index
    model.model.layers = torch.nn.ModuleList(kept)
    model.config.num_hidden_layers = len(kept)
    return model


def score(model, shared=None, **options):
    requests = [Instance("loglikelihood", {}, pair, k) for k, pair in enumerate(many_pairs())]
    lm = PackedLM(model, TOKENIZER, batch_tokens=96, shared=shared, **options)
    return lm.loglikelihood(requests, disable_tqdm=True)


class Counter:
    """Counts how often each layer of a model runs."""

    def __init__(self, model):
        self.counts = [0] * len(model.model.layers)
        for index, layer in enumerate(model.model.layers):
            layer.register_forward_hook(lambda *_, index=index: self.add(index))

    def add(self, index):
        self.counts[index] += 1


def configurations(dense):
    made = {f"layer {k}": (with_low_rank_layer(dense, k), k) for k in range(LAYERS)}
    made["dense"] = (copy.deepcopy(dense), LAYERS)
    made["without layers 2 and 4"] = (without_layers(dense, {2, 4}), 2)
    made["without the last"] = (without_layers(dense, {LAYERS - 1}), LAYERS - 1)
    return made


@pytest.mark.parametrize("first", ["dense", "layer 3", "layer 0", "without the last"])
def test_scores_are_the_same_to_the_last_bit_whoever_is_first(dense, first, tmp_path):
    made = configurations(dense)
    order = [first, *(name for name in made if name != first)]
    for name in [*order, *order]:
        model, unchanged = made[name]
        expected = score(model)
        assert score(model, SharedStates(tmp_path, KEY, LAYERS, unchanged)) == expected, name


def test_shared_layers_are_not_computed_again(dense, tmp_path):
    score(dense, SharedStates(tmp_path, KEY, LAYERS, LAYERS))
    model = with_low_rank_layer(dense, 3)
    lm = PackedLM(model, TOKENIZER, batch_tokens=96, shared=SharedStates(tmp_path, KEY, LAYERS, 3))
    counter = Counter(model)
    requests = [Instance("loglikelihood", {}, pair, k) for k, pair in enumerate(many_pairs())]
    lm.loglikelihood(requests, disable_tqdm=True)
    assert counter.counts[:3] == [0, 0, 0]
    assert counter.counts[3] == counter.counts[4] > 1


def test_a_later_job_adds_the_deeper_layers(dense, tmp_path):
    def kept():
        return sorted(path.name for path in tmp_path.glob("*/*/[0-9]*"))

    score(with_low_rank_layer(dense, 2), SharedStates(tmp_path, KEY, LAYERS, 2))
    assert kept() == ["1", "2"]
    score(dense, SharedStates(tmp_path, KEY, LAYERS, LAYERS))
    assert kept() == ["1", "2", "3", "4"]
    assert not list(tmp_path.glob("*/*/.*"))


def test_other_models_questions_and_threads_share_nothing(dense, tmp_path):
    score(dense, SharedStates(tmp_path, KEY, LAYERS, LAYERS))
    other = make_model(num_hidden_layers=LAYERS, rms_norm_eps=1e-2)
    expected = score(other)
    key = (*KEY[:2], 2)
    assert score(other, SharedStates(tmp_path, key, LAYERS, LAYERS - 1)) == expected
    few = [Instance("loglikelihood", {}, pair, k) for k, pair in enumerate(many_pairs()[:3])]
    shared = SharedStates(tmp_path, KEY, LAYERS, LAYERS - 1)
    lm = PackedLM(dense, TOKENIZER, batch_tokens=96, shared=shared)
    plain = PackedLM(dense, TOKENIZER, batch_tokens=96)
    assert lm.loglikelihood(few, disable_tqdm=True) == plain.loglikelihood(few, disable_tqdm=True)


def test_what_does_not_fit_is_spread_evenly(dense, tmp_path):
    assert shared_states._spread(29, 100) == list(range(1, 30))
    assert shared_states._spread(29, 2) == [10, 20]
    assert shared_states._spread(29, 0) == []
    expected = score(dense)
    assert score(dense, SharedStates(tmp_path, KEY, LAYERS, LAYERS, most_bytes=10)) == expected
    assert not list(tmp_path.glob("*/*/[0-9]*"))


def test_a_failed_run_keeps_nothing(dense, tmp_path, monkeypatch):
    calls = []

    def fail(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("cut short")
        return original(self, *arguments)

    original = Passes.run_batch
    monkeypatch.setattr(Passes, "run_batch", fail)
    with pytest.raises(RuntimeError, match="cut short"):
        score(dense, SharedStates(tmp_path, KEY, LAYERS, LAYERS))
    assert not list(tmp_path.glob("*/*/*"))
    assert not dense.model.layers[1]._forward_pre_hooks


def test_out_of_memory_starts_over_without_mixing_plans(dense, tmp_path, monkeypatch):
    expected = [value for value, _ in score(dense)]
    original = Passes.run_batch
    calls = []

    def exhausted(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, *arguments)

    monkeypatch.setattr(Passes, "run_batch", exhausted)
    shared = SharedStates(tmp_path, KEY, LAYERS, LAYERS)
    assert [value for value, _ in score(dense, shared)] == pytest.approx(expected, abs=1e-4)


def test_a_full_disk_costs_the_sharing_and_nothing_else(dense, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    expected = score(dense)
    monkeypatch.setattr(shared_states, "save_file", full)
    assert score(dense, SharedStates(tmp_path, KEY, LAYERS, LAYERS)) == expected
    assert not list(tmp_path.glob("*/*/*"))


def test_only_the_jobs_of_a_run_share(monkeypatch, tmp_path):
    monkeypatch.delenv(shared_states.VARIABLE, raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert shared_states.shared_states(KEY, LAYERS, 2) is None
    monkeypatch.setenv(shared_states.VARIABLE, str(tmp_path))
    assert isinstance(shared_states.shared_states(KEY, LAYERS, 2), SharedStates)
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    assert shared_states.shared_states(KEY, LAYERS, 2) is None


def test_the_tail_is_the_rest_of_the_decoder(dense):
    ids = torch.arange(12)[None] % 7 + 2
    with torch.no_grad():
        states = dense.model(ids, output_hidden_states=True, use_cache=False)
        rest = tail(dense.model, 3)(inputs_embeds=states.hidden_states[3], use_cache=False)
    assert torch.equal(rest.last_hidden_state, states.last_hidden_state)
    assert len(dense.model.layers) == dense.config.num_hidden_layers == LAYERS


def test_states_that_vanish_cost_their_saving_and_nothing_else(dense, tmp_path, caplog):
    expected = score(dense)
    score(dense, SharedStates(tmp_path, KEY, LAYERS, LAYERS))
    lm = PackedLM(
        dense, TOKENIZER, batch_tokens=96, shared=SharedStates(tmp_path, KEY, LAYERS, LAYERS)
    )
    original, calls = lm.passes.run_batch, []

    def remove_then_run(*arguments):
        calls.append(1)
        if len(calls) == 2:
            shutil.rmtree(tmp_path)
        return original(*arguments)

    lm.passes.run_batch = remove_then_run
    requests = [Instance("loglikelihood", {}, pair, k) for k, pair in enumerate(many_pairs())]
    assert lm.loglikelihood(requests, disable_tqdm=True) == expected
    assert len(calls) > 2 and "All layers are computed" in caplog.text


def test_a_run_finds_nothing_of_a_dead_run_with_its_number(tmp_path, monkeypatch):
    monkeypatch.delenv("LOWRANK_WARM_START", raising=False)
    left = tmp_path / ".shared_states" / str(os.getpid()) / "model" / "plan"
    left.mkdir(parents=True)
    made = surroundings({"pathvars": {"results": str(tmp_path)}})
    assert made[shared_states.VARIABLE] == str(tmp_path / ".shared_states" / str(os.getpid()))
    assert not left.exists()


def test_states_are_of_one_code_and_its_versions(tmp_path, monkeypatch):
    monkeypatch.setenv(shared_states.VARIABLE, str(tmp_path / "states"))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    tiny.save_model(tmp_path / "weights")
    folders = set()
    for code, version in (("a", "1"), ("b", "1"), ("a", "2")):
        monkeypatch.setattr(causal, "code_digest", lambda code=code: code)
        monkeypatch.setattr(causal, "versions", lambda version=version: {"torch": version})
        manifest = {"decomposition": {"layers": [3]}}
        states = causal._shared(tmp_path / "weights", manifest, {"dtype": "float32"})
        folders.add(states._folder)
    assert len(folders) == 3
