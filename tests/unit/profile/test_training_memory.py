"""What a step of training adapters takes: counts by hand, and the process's own peak."""

import copy
import functools
import sys
from dataclasses import asdict

import pytest
import torch
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, write_json
from lowrank.decompose.compressed import compress
from lowrank.decompose.layer_factors import factorize_layer
from lowrank.decompose.linear import ChannelLinear, LowRankLinear, PivotedLinear
from lowrank.decompose.loading import load_base
from lowrank.profile import training_memory
from lowrank.profile.adapting import FrozenLinear, with_adapters
from lowrank.profile.training_memory import (
    RESIDENT,
    Step,
    counted_activations,
    in_child,
    measure_cases,
    measure_step,
    profile_training,
)
from lowrank.quantize.quantizing import quantize
from lowrank.space.design_space import Decomposition
from quantizations import INT8, NESTED, NF4, SPQR, logits
from tiny import ARCHITECTURE
from tiny_profile import TINY
from torch import nn

RANK = 3
SHAPES = {"q": (32, 32), "k": (16, 32), "v": (16, 32), "o": (32, 32)}
SHAPES |= {"gate": (48, 32), "up": (48, 32), "down": (32, 48)}
LAYERS = ARCHITECTURE["num_hidden_layers"]
STEP = Step(batch=2, length=10, rank=4)


def pairs(weights):
    """The tiny model with a random factor pair in the place of each linear layer."""
    model = load_base(weights, "float32")
    generator = torch.Generator().manual_seed(0)
    for path, module in list(model.model.layers.named_modules()):
        if isinstance(module, nn.Linear):
            outputs, inputs = module.weight.shape
            left, right = (
                torch.randn(shape, generator=generator) / 3
                for shape in ((outputs, RANK), (RANK, inputs))
            )
            model.model.layers.set_submodule(path, LowRankLinear(left, right, None))
    return model


def dense_model(weights):
    return load_base(weights, "float32")


def measured(build, weights, entry=None, step=STEP):
    return measure_step(functools.partial(build, weights), entry, step)


def test_adapters_gradients_and_optimizer_are_counted_by_hand(weights):
    found = measured(dense_model, weights)
    adapters = 4 * LAYERS * sum(4 * (o + i) for o, i in SHAPES.values())
    assert found["adapters"] == found["gradients"] == adapters
    assert found["optimizer"] == 2 * adapters
    plain = load_base(weights, "float32")
    assert found["frozen"] == sum(t.nbytes for t in (*plain.parameters(), *plain.buffers()))
    of_pairs = measured(pairs, weights)
    assert of_pairs["adapters"] == 4 * LAYERS * sum(
        4 * (o + RANK) + 4 * (RANK + i) for o, i in SHAPES.values()
    )
    removed = 4 * LAYERS * sum(o * i - RANK * (o + i) for o, i in SHAPES.values())
    assert found["frozen"] - of_pairs["frozen"] == removed


@pytest.mark.parametrize("build", [dense_model, pairs])
@pytest.mark.parametrize("entry", [INT8, NF4, NESTED], ids=["int8", "nf4", "nested"])
def test_quantized_weights_take_less_by_the_bytes_that_quantizing_counts(weights, build, entry):
    found, whole = (measured(build, weights, e) for e in (entry, None))
    facts = quantize(build(weights), entry)["facts"]
    assert whole["frozen"] - found["frozen"] == 4 * facts["numbers"] - facts["bytes"]
    assert found["adapters"] == whole["adapters"]


def test_twice_the_batch_keeps_twice_as_much_for_the_backward_pass(weights):
    one, two = (measured(dense_model, weights, step=Step(n, 10)) for n in (2, 4))
    assert two["activations"] == pytest.approx(2 * one["activations"], rel=0.02)
    assert (one["frozen"], one["optimizer"]) == (two["frozen"], two["optimizer"])


def test_checkpoints_keep_less_and_the_loss_is_the_same(weights):
    plain, less = (
        measured(dense_model, weights, step=Step(2, 10, checkpointing=c)) for c in (False, True)
    )
    assert less["activations"] < plain["activations"] / 2
    assert less["loss"] == pytest.approx(plain["loss"], rel=1e-6)


@pytest.mark.parametrize("factors", ["left", "right"])
def test_one_factor_of_a_pair_can_be_adapted_alone(weights, factors):
    found = measured(pairs, weights, step=Step(2, 10, rank=4, factors=factors))
    ends = [(o + RANK) if factors == "left" else (RANK + i) for o, i in SHAPES.values()]
    assert found["adapters"] == 4 * LAYERS * sum(4 * end for end in ends)
    assert found["activations"] < measured(pairs, weights)["activations"]


def test_activations_of_a_product_are_its_input_counted_once():
    layer = nn.Linear(8, 4, bias=False)
    x = torch.rand(5, 8, requires_grad=True)
    with counted_activations(layer) as total:
        y = layer(x) + layer(x)
    assert total == [5 * 8 * 4] and y.shape == (5, 4)


@pytest.mark.parametrize("build", [dense_model, pairs])
def test_fresh_adapters_change_nothing(weights, build):
    assert torch.allclose(
        logits(with_adapters(build(weights), None, 4, 0)), logits(build(weights)), atol=1e-4
    )


@pytest.mark.parametrize("build", [dense_model, pairs])
def test_adapters_stand_on_the_weights_that_quantizing_gives(weights, build):
    quantized = build(weights)
    quantize(quantized, NESTED)
    trained = with_adapters(build(weights), NESTED, 4, 0)
    assert torch.allclose(logits(trained), logits(quantized), atol=1e-3)


@pytest.mark.parametrize("entry", [None, INT8, NESTED], ids=["float", "int8", "nested"])
def test_gradients_are_those_of_plain_products_with_the_same_weights(weights, entry):
    model = with_adapters(pairs(weights), entry, 4, 0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zeros at first: nothing would reach A
            nn.init.normal_(parameter, std=0.1)
    plain = copy.deepcopy(model)
    for name, module in list(plain.named_modules()):
        if isinstance(module, FrozenLinear):
            linear = nn.Linear(*module.weight.shape[::-1], bias=False)
            linear.weight = nn.Parameter(module.weight.detach().clone(), requires_grad=False)
            plain.set_submodule(name, linear)
    slopes = []
    for one in (model, plain):
        tokens = torch.arange(2, 30)[None]
        one(input_ids=tokens, labels=tokens).loss.backward()
        slopes.append({n: p.grad for n, p in one.named_parameters() if p.requires_grad})
    assert slopes[0].keys() == slopes[1].keys() and len(slopes[0]) == LAYERS * 7 * 2 * 2
    for name, slope in slopes[0].items():
        assert slope.abs().max() > 0
        assert torch.allclose(slope, slopes[1][name], rtol=1e-4, atol=1e-6)


def test_the_weights_that_codes_stand_for_are_not_kept_for_the_backward_pass(weights):
    plain, coded = (measured(dense_model, weights, entry) for entry in (None, NESTED))
    assert coded["activations"] == plain["activations"]


def test_channels_become_plain_layers(weights):
    model = load_base(weights, "float32")
    mlp = model.model.layers[0].mlp
    for name, axis in (("up_proj", 0), ("gate_proj", 0), ("down_proj", 1)):
        setattr(mlp, name, ChannelLinear(getattr(mlp, name), torch.arange(40), axis))
    expected = logits(model)
    assert torch.allclose(logits(with_adapters(model, None, 4, 0)), expected, atol=1e-4)


@pytest.mark.parametrize("entry", [SPQR, NF4 | {"parts": ["linear", "head"]}])
def test_fake_quantizations_and_other_parts_are_not_trained_over(weights, entry):
    with pytest.raises(LowrankError, match="adapters are trained over linear layers that are"):
        with_adapters(load_base(weights, "float32"), entry, 4, 0)


def pivoted(weights):
    """The tiny model with a pivoted product in the place of one layer."""
    model = load_base(weights, "float32")
    generator = torch.Generator().manual_seed(0)
    rows, coefficients = (
        torch.randn(shape, generator=generator) / 3 for shape in ((RANK, 32), (48 - RANK, RANK))
    )
    order = torch.randperm(48, generator=generator)
    made = PivotedLinear(rows, coefficients, order, torch.arange(48.0))
    model.model.layers[1].mlp.up_proj = made
    return model


@pytest.mark.parametrize("entry", [None, NESTED], ids=["float", "nested"])
def test_pivoted_factors_are_two_layers_as_well(weights, entry):
    expected = pivoted(weights)
    if entry is not None:
        quantize(expected, entry)
    trained = with_adapters(pivoted(weights), entry, 4, 0)
    assert torch.allclose(logits(trained), logits(expected), atol=1e-3)
    names = {name for name, _ in trained.named_modules() if name.endswith("lora_A")}
    assert len(names) == LAYERS * len(SHAPES) + 1
    one_side = with_adapters(pivoted(weights), entry, 4, 0, "right")
    names = {name for name, _ in one_side.named_modules() if name.endswith("lora_A")}
    assert len(names) == LAYERS * len(SHAPES)
    assert not any(".coefficients." in name for name in names)


def broken(weights):
    model = load_base(weights, "float32")
    model.model.layers[0].mlp.up_proj.weight.data[0, 0] = torch.inf
    return model


def test_a_loss_that_is_not_finite_is_no_result(weights):
    with pytest.raises(LowrankError, match="not finite"):
        measured(broken, weights)


def take(megabytes):
    """Hold some memory for a moment, after `measure_step`'s own start."""
    from lowrank.profile.training_memory import _peak, _start

    device = torch.device("cpu")
    torch.ones(2**18 * megabytes)  # what comes before does not count
    before = _start(device)
    torch.ones(2**18 * 40)
    return before, _peak(device)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_of_a_process_is_that_since_the_start(weights):
    before, peak = in_child(take, 400)
    assert 35 * 2**20 < peak - before < 80 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_cases_are_measured_in_processes_of_their_own_and_compared_with_the_first(weights):
    dense = functools.partial(dense_model, weights)
    made = measure_cases({"lora": (dense, None), "qlora": (dense, NESTED)}, STEP, "cpu", source="x")
    first, second = made["cases"]["lora"], made["cases"]["qlora"]
    assert first["ratio"] == 1 and second["ratio"] == second["peak"] / first["peak"]
    for record in (first, second):
        assert record["measured_by"] == RESIDENT
        assert record["peak"] == record["frozen"] + record["adapters"] + record["rise"]
    assert made["step"] == asdict(STEP)
    assert made["provenance"]["source"] == "x"


def test_rounds_of_steps_are_paired(weights, tmp_path, monkeypatch):
    """Over a model of half the layers' weights and over the dense one, by turns."""
    write_json(tmp_path / "base.json", {"files": {}, "source": "test"})
    factors = {2: tmp_path / "factors.safetensors"}
    factorize_layer(weights, TINY.architecture, 2, 4, "svd", factors[2])
    made = Decomposition.make(TINY.architecture, [2], method="svd", rank=4)
    compressed = tmp_path / "model"
    compress(TINY.architecture, "tiny", tmp_path / "base.json", made, factors, compressed)
    asked = []

    def here(function, build, entry, step):
        asked.append(entry)
        model = build()
        peak = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
        return function(build, entry, step) | {"peak": peak + len(asked) % 3}

    monkeypatch.setattr(training_memory, "in_child", here)
    settings = asdict(STEP) | {"dtype": "float32", "device": "cpu", "rounds": 5}
    settings |= {"quantization": "nf4", "entry": NESTED}
    profile_training(weights, compressed, settings, tmp_path / "record.json")
    record = read_json(tmp_path / "record.json")
    assert asked == [NESTED] * 10
    training = record["training"]
    assert [step["name"] for step in training["steps"]] == ["configuration", "dense"] * 5
    assert training["workload"] == "QLoRA (nf4), 2 × 10 tokens, by the resident set"
    removed = 4 * made.removed_parameters(TINY.architecture)
    peak = training["peak"]
    assert peak["dense"]["median"] - peak["configuration"]["median"] == pytest.approx(
        removed, abs=3
    )
    low, high = peak["ratio"]["interval_95"]
    assert low < peak["ratio"]["value"] < high < 1 and peak["ratio"]["rounds"] == 5
    assert record["decomposition"] == made.name(TINY.architecture)
    assert record["provenance"]["factors_sha256"] and record["gpus"] == 0
