"""Moments of inputs, carried to each tensor of a module, and what they do for its rounding."""

import pytest
import torch
from lowrank.base.errors import LowrankError
from lowrank.decompose.linear import ChannelLinear
from lowrank.decompose.loading import load_compressed
from lowrank.decompose.walk import gather_moments
from lowrank.quantize.inputs import second_moment, stored_inputs
from lowrank.quantize.places import places
from lowrank.quantize.quantizing import quantize
from lowrank.space.architecture import Architecture
from quantizations import NF4, SPQR
from tiny import ARCHITECTURE

TINY = Architecture.from_config(ARCHITECTURE)
THREE_BITS = SPQR | {"bits": 3}
TOKENS = torch.randint(0, 260, (6, 40), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def inputs(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("moments") / "dense"
    gather_moments(folder / "weights", TINY, TOKENS.numpy(), output)
    return stored_inputs(output, TINY)


def load(folder, name):
    return load_compressed(folder / "weights", folder / name, "float32")[0]


def seen_by(model, paths):
    """The inputs of modules, by hooks."""
    seen = {}
    for path in paths:
        model.get_submodule(path).register_forward_hook(
            lambda module, given, _, path=path: seen.update({path: given[0].detach()})
        )
    with torch.no_grad():
        model(TOKENS)
    return {path: x.reshape(-1, x.shape[-1]).double() for path, x in seen.items()}


def test_moments_are_those_of_what_goes_into_each_module(folder, inputs):
    model = load(folder, "dense")
    paths = [place.name.rpartition(".")[0] for place in places(model, ("linear",))]
    assert len(paths) == 28
    for path, x_NI in seen_by(model, paths).items():
        assert torch.allclose(inputs(path), x_NI.T @ x_NI / len(x_NI), rtol=1e-3, atol=1e-4), path


@pytest.mark.parametrize(
    ("name", "first", "second"), [("pairs", "right", "left"), ("pivoted", "rows", "coefficients")]
)
def test_a_second_factor_reads_what_the_first_one_makes(folder, inputs, name, first, second):
    model, path = load(folder, name), "model.layers.0.mlp.up_proj"
    found = {place.name: place for place in places(model, ("linear",))}
    names = list(found)
    assert names.index(f"{path}.{first}") < names.index(f"{path}.{second}")
    assert torch.equal(second_moment(found[f"{path}.{first}"], inputs), inputs(path))
    x_NI = seen_by(load(folder, "dense"), [path])[path]
    h_NR = x_NI @ getattr(model.get_submodule(path), first).detach().double().T
    made = second_moment(found[f"{path}.{second}"], inputs)
    assert torch.allclose(made, h_NR.T @ h_NR / len(h_NR), rtol=1e-3, atol=1e-3)


def test_a_layer_that_reads_some_channels_has_their_moments(folder, inputs):
    model, path = load(folder, "dense"), "model.layers.0.mlp.down_proj"
    kept = torch.tensor([1, 5, 30])
    model.set_submodule(path, ChannelLinear(model.get_submodule(path), kept, 1))
    (place,) = (p for p in places(model, ("linear",)) if p.name.startswith(path))
    assert torch.equal(second_moment(place, inputs), inputs(path)[[1, 5, 30]][:, [1, 5, 30]])


@pytest.mark.parametrize("name", ["dense", "pairs", "pivoted"])
def test_outputs_are_nearer_where_errors_are_fed_back(folder, inputs, name):
    original, alone, fed = (load(folder, name) for _ in range(3))
    assert not quantize(alone, THREE_BITS)["facts"]["feeds_back"]
    assert quantize(fed, THREE_BITS, inputs=inputs)["facts"]["feeds_back"]

    def error(model):
        total = 0.0
        for place in places(original, ("linear",)):
            path = place.name.rpartition(".")[0]
            moment = inputs(path)
            weights = (m.get_submodule(path).weight.detach().double() for m in (model, original))
            off = next(weights) - next(weights)
            total += float((off @ moment * off).sum())
        return total

    assert error(fed) < 0.9 * error(alone)


def test_only_a_method_that_uses_moments_takes_them(folder, inputs):
    with pytest.raises(LowrankError, match="nf4 has no use for moments of inputs"):
        quantize(load(folder, "dense"), NF4, inputs=inputs)
