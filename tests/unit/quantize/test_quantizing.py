"""Every kind of linear layer is quantized in place and stays what it is."""

import math

import pytest
import tiny
import torch
from lowrank.base.errors import LowrankError
from lowrank.decompose.linear import ChannelLinear, LowRankLinear, PivotedLinear
from lowrank.decompose.loading import load_base, load_compressed, shared_copy
from lowrank.quantize.blockwise import decode, encode
from lowrank.quantize.entry import Quantization
from lowrank.quantize.quantizing import quantize
from lowrank.quantize.sizes import weight_bytes
from quantizations import INT8, NESTED, NF4, SPQR, every, logits
from torch import nn


def load(folder, name="dense", dtype="float32"):
    return load_compressed(folder / "weights", folder / name, dtype)[0]


def with_channels(folder):
    model = load(folder)
    for path, kept, axis in (("up_proj", 40, 0), ("gate_proj", 40, 0), ("down_proj", 40, 1)):
        path = f"model.layers.0.mlp.{path}"
        made = ChannelLinear(model.get_submodule(path), torch.arange(kept), axis)
        model.set_submodule(path, made)
    return model


@pytest.mark.parametrize(
    ("name", "kind", "parameters"),
    [
        ("dense", nn.Linear, ("weight",)),
        ("pairs", LowRankLinear, ("left", "right")),
        ("pivoted", PivotedLinear, ("rows", "coefficients")),
    ],
)
@every
@torch.no_grad()
def test_what_a_module_computes_is_what_its_rounded_weights_give(
    folder, name, kind, parameters, entry
):
    model = load(folder, name)
    path = "model.layers.0.mlp.up_proj"
    before = {p: getattr(model.get_submodule(path), p).clone() for p in parameters}
    made = quantize(model, entry)
    module = model.get_submodule(path)
    assert isinstance(module, kind)
    x = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(0))
    for parameter, weight in before.items():
        rounded = getattr(module, parameter)
        assert rounded.dtype == torch.float32 and rounded.shape == weight.shape
        off = float((rounded - weight).norm() / weight.norm())
        assert 0 < off < 0.2
        said = made["tensors"][f"{path}.{parameter}"]["relative_error"]
        assert said == pytest.approx(off, rel=1e-4)
        before[parameter] = rounded.clone()
    plain = {
        nn.Linear: lambda w: x @ w["weight"].T,
        LowRankLinear: lambda w: x @ w["right"].T @ w["left"].T,
        PivotedLinear: lambda w: (
            x @ torch.cat([w["rows"], w["coefficients"] @ w["rows"]])[module.place].T
        ),
    }[kind]
    assert torch.allclose(module(x), plain(before), atol=1e-4)
    assert torch.allclose(x @ module.weight.T, plain(before), atol=1e-4)


@every
def test_channels_are_quantized_too(folder, entry):
    model = with_channels(folder)
    module = model.model.layers[0].mlp.down_proj
    before = module.kept_weight.clone()
    made = quantize(model, entry)
    assert isinstance(module, ChannelLinear)
    assert made["tensors"]["model.layers.0.mlp.down_proj.kept_weight"]["shape"] == [32, 40]
    x = torch.randn(1, 4, 40)
    assert not torch.equal(module.kept_weight, before)
    assert torch.equal(module(x), nn.functional.linear(x, module.kept_weight))
    assert torch.equal(module.weight[:, 40:], torch.zeros(32, 8))


@every
def test_a_dense_layer_computes_exactly_with_its_dequantized_weight(folder, entry):
    model = load(folder)
    quantize(model, entry)
    module = model.model.layers[1].self_attn.q_proj
    x = torch.randn(2, 3, 32)
    assert torch.equal(module(x), nn.functional.linear(x, module.weight))


def test_only_linear_layers_of_the_decoder_change_unless_it_is_said(folder):
    model, dense = load(folder), load(folder)
    made = quantize(model, NF4)
    assert len(made["tensors"]) == 4 * 7
    assert torch.equal(model.lm_head.weight, dense.lm_head.weight)
    assert torch.equal(model.model.embed_tokens.weight, dense.model.embed_tokens.weight)
    more = quantize(load(folder), NF4 | {"parts": ["linear", "head", "embeddings"]})
    assert set(more["tensors"]) - set(made["tensors"]) == {"head.weight", "embeddings.weight"}
    assert more["facts"]["numbers"] - made["facts"]["numbers"] == 2 * 260 * 32


def test_tied_head_and_embeddings_are_one_tensor(tmp_path):
    tiny.save_model(tmp_path, tie_word_embeddings=True)
    model = load_base(tmp_path, "float32")
    made = quantize(model, NF4 | {"parts": ["head", "embeddings"]})
    assert made["facts"]["numbers"] == 260 * 32
    assert torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)
    assert weight_bytes(model) == weight_bytes(load_base(tmp_path, "float32")) - (
        4 * 260 * 32 - made["facts"]["bytes"]
    )
    assert logits(model).isfinite().all()
    with pytest.raises(LowrankError, match="one tensor: name both or neither"):
        quantize(load_base(tmp_path, "float32"), NF4 | {"parts": ["head"]})


@pytest.mark.parametrize(("entry", "bits_of_scales"), [(INT8, 32), (NF4, 32)], ids=["int8", "nf4"])
def test_the_bytes_are_those_of_a_count_by_hand_and_memory_shrinks_by_the_rest(
    folder, entry, bits_of_scales
):
    model = load(folder)
    before = weight_bytes(model)
    facts = quantize(model, entry)["facts"]
    bits = 8 if entry is INT8 else 4
    shapes = [(32, 32), (16, 32), (16, 32), (32, 32), (48, 32), (48, 32), (32, 48)]
    by_hand = 4 * sum(
        math.ceil(o * i * bits / 8) + math.ceil(o * i / 64) * bits_of_scales // 8 for o, i in shapes
    )
    numbers = 4 * sum(o * i for o, i in shapes)
    assert (facts["bytes"], facts["numbers"]) == (by_hand, numbers)
    assert facts["bits_per_number"] == pytest.approx(bits + bits_of_scales / 64)
    assert before - weight_bytes(model) == 4 * numbers - by_hand
    assert facts["rest_numbers"] == 2 * 260 * 32 + (2 * 4 + 1) * 32
    assert facts["blocks_across_rows"] == 28 and not facts["fake"]


def test_fake_weights_take_as_much_memory_as_before(folder):
    model = load(folder)
    before = weight_bytes(model)
    facts = quantize(model, SPQR)["facts"]
    assert facts["fake"] and weight_bytes(model) == before
    assert 4.6 < facts["bits_per_number"] < 10
    assert facts["blocks_across_rows"] == 0


@torch.no_grad()
def test_errors_of_tensors_add_up_to_that_of_all(folder):
    model, dense = load(folder), load(folder)
    made = quantize(model, INT8)
    off = whole = 0.0
    for name in made["tensors"]:
        path = name.rpartition(".")[0]
        weight = dense.get_submodule(path).weight.double()
        off += float((model.get_submodule(path).weight.double() - weight).square().sum())
        whole += float(weight.square().sum())
    assert made["facts"]["relative_error"] == pytest.approx(math.sqrt(off / whole), rel=1e-4)


def test_in_sixteen_bits_weights_are_dequantized_to_sixteen_bits(folder):
    model = load(folder, "pairs", "bfloat16")
    weight = model.model.layers[0].mlp.up_proj.left.clone()
    quantize(model, NESTED)
    how = Quantization.from_entry(NESTED)
    expected = decode(encode(weight, how), weight.shape, torch.bfloat16, how)
    assert torch.equal(model.model.layers[0].mlp.up_proj.left, expected)
    assert model.dtype == torch.bfloat16 and logits(model).isfinite().all()


@every
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_refused(folder, entry, bad):
    model = load(folder, "pairs")
    model.model.layers[2].mlp.up_proj.left.data[1, 2] = bad
    with pytest.raises(
        LowrankError, match=r"layers\.2\.mlp\.up_proj\.left has a number that is not"
    ):
        quantize(model, entry)


def test_ranges_that_sixteen_bits_cannot_hold_are_refused(folder):
    model = load(folder)
    model.model.layers[0].self_attn.q_proj.weight.data[3, 4] = 1e7
    with pytest.raises(LowrankError, match=r"q_proj\.weight is not finite any more"):
        quantize(model, SPQR)


@every
def test_a_model_is_quantized_once(folder, entry):
    model = load(folder)
    quantize(model, entry)
    with pytest.raises(LowrankError, match="quantized already"):
        quantize(model, INT8)


def test_a_quantized_model_cannot_change_its_number_type(folder):
    model = load(folder)
    quantize(model, NF4)
    with pytest.raises(LowrankError, match="cannot change its number type"):
        logits(model.to(torch.bfloat16))


def test_a_copy_shares_its_codes(folder):
    model = load(folder, "pairs")
    quantize(model, NESTED)
    copy = shared_copy(model)
    assert torch.equal(logits(copy), logits(model))
    ours, theirs = ({id(t) for t in (*m.parameters(), *m.buffers())} for m in (model, copy))
    assert ours == theirs
