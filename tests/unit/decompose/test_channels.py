"""Channels and heads that are left out: against zeros in the dense model, and by hand."""

import json

import numpy as np
import pytest
import tiny
import tiny_bert
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lowrank.base.errors import LowrankError
from lowrank.base.files import write_json
from lowrank.decompose.channels import (
    importance_of_parts,
    kept_parts,
    kept_places,
    read_importance,
    taylor,
    wanda,
    write_importance,
)
from lowrank.decompose.compressed import compress
from lowrank.decompose.export import export_dense
from lowrank.decompose.gradients import gather_gradients
from lowrank.decompose.layer_factors import factorize_layer
from lowrank.decompose.loading import load_base, load_compressed, load_tokenizer
from lowrank.decompose.moments import Moments, moments_file
from lowrank.decompose.salience import read_salience
from lowrank.decompose.walk import gather_moments
from lowrank.evaluate.packed.lm import PackedLM
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from lowrank.space.methods import METHODS
from lowrank.space.rank_rule import ChannelShare

TOKENS = np.random.default_rng(0).integers(5, 40, size=(4, 10), dtype=np.int32)
MHA = {"num_attention_heads": 4, "num_key_value_heads": 4}
# Three key/value heads, with three query heads of 4 numbers each.
GQA = {"hidden_size": 36, "num_attention_heads": 9, "num_key_value_heads": 3}
KINDS = {
    "mha": (tiny.save_model, tiny.ARCHITECTURE | MHA),
    "gqa": (tiny.save_model, tiny.ARCHITECTURE | GQA),
    "bert": (tiny_bert.save_model, tiny_bert.BARE),
}
# How many groups of heads, and channels of 48, a share keeps. Attention and MLP of `gqa` have 3456
# and 5184 weights: 0.8 of all, less two thirds of attention, are 4608 of 108 a channel.
KEPT = {
    ("wanda", "all", "mha", 0.5): (None, 24),
    ("wanda", "all", "gqa", 0.9): (None, 43),
    ("wanda", "all", "bert", 0.5): (None, 24),
    ("wanda_sp", "attention", "mha", 0.5): (2, None),
    ("wanda_sp", "attention", "gqa", 0.8): (2, None),
    ("wanda_sp", "attention", "gqa", 0.01): (1, None),
    ("wanda_sp", "attention", "bert", 0.5): (tiny_bert.BARE["num_attention_heads"] // 2, None),
    ("wanda_sp", "mlp", "gqa", 0.5): (None, 24),
    ("wanda_sp", "all", "mha", 0.75): (3, 36),
    ("wanda_sp", "all", "gqa", 0.8): (2, 42),
    ("wanda_sp", "all", "gqa", 0.5): (2, 18),
    ("taylor", "attention", "mha", 0.5): (2, None),
    ("taylor", "attention", "gqa", 0.8): (2, None),
    ("taylor", "mlp", "gqa", 0.5): (None, 24),
    ("taylor", "all", "mha", 0.75): (3, 36),
    ("taylor", "all", "gqa", 0.8): (2, 42),
}


def test_wanda_by_hand():
    """Columns of mean magnitude 2 and 3, inputs of root mean square 3 and 1."""
    weights = {"u": np.ones((2, 5)), "d": np.array([[1.0, -3.0], [3.0, 3.0]])}
    inputs = Moments(np.diag([9.0, 1.0]), np.zeros(2), np.ones(2), 7)
    assert wanda(weights, {"d": inputs}).tolist() == [6.0, 3.0]


def test_taylor_by_hand():
    """The last tensor's inputs by what the loss changes to first order, up or down."""
    weights = {"u": np.ones((2, 5)), "d": np.ones((2, 3))}
    assert taylor(weights, {"d": np.array([-2.0, 0.5, 1.0])}).tolist() == [2.0, 0.5, 1.0]


def test_a_part_matters_as_much_as_its_inputs_together():
    assert importance_of_parts(np.array([1.0, 2.0, 5.0, 0.5, 3.0, 4.0]), 3).tolist() == [3, 5.5, 7]


def test_of_equal_parts_the_first_are_kept():
    assert kept_parts(np.array([1.0, 5.0, 1.0, 5.0]), 3).tolist() == [0, 1, 3]


def test_a_key_value_head_goes_with_its_query_heads_by_hand():
    """Heads of 4 numbers: the last key/value head of three has query heads 6, 7 and 8."""
    places = kept_places(Architecture.from_config(KINDS["gqa"][1]), "attention", np.array([2]))
    found = {tensor: (axis, kept.tolist()) for tensor, axis, kept in places}
    assert found == {
        "q": (0, list(range(24, 36))),
        "k": (0, [8, 9, 10, 11]),
        "v": (0, [8, 9, 10, 11]),
        "so": (1, list(range(24, 36))),
    }


def test_importance_comes_back_from_its_file(tmp_path):
    path = tmp_path / "layer-2.safetensors"
    write_importance(path, "wanda", 2, {"mlp": np.array([0.1, 2.0])})
    assert read_importance(path, "wanda", 2, "mlp").tolist() == [0.1, 2.0]
    with pytest.raises(LowrankError, match="it holds layer 2 by wanda"):
        read_importance(path, "wanda", 3, "mlp")
    with pytest.raises(LowrankError, match="not a readable file of channels .*attention"):
        read_importance(path, "wanda", 2, "attention")
    write_importance(path, "wanda", 2, {"mlp": np.array([np.nan])})
    with pytest.raises(LowrankError, match="it is not finite"):
        read_importance(path, "wanda", 2, "mlp")


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Models with what goes into their modules, by kind."""
    made = {}
    for kind, (save, config) in KINDS.items():
        folder = tmp_path_factory.mktemp(kind)
        if save is tiny.save_model:
            save(folder / "weights", **config)
        else:
            save(folder / "weights", config)
        architecture = Architecture.from_config(config)
        write_json(folder / "base.json", {"files": {}, "source": "test"})
        given = folder / "weights", architecture, TOKENS
        gather_moments(*given, folder / "dense")
        if architecture.task == "causal":
            gather_gradients(*given, folder / "gradients")
        made[kind] = folder, architecture
    return made


def pruned(base, chosen, output):
    """Write the compressed model of a configuration; return the files of its layers."""
    folder, architecture = base
    files = {layer: output / f"{layer}.safetensors" for layer in chosen.layers}
    output.mkdir()
    for layer, path in files.items():
        own = folder / METHODS[chosen.method].inputs / moments_file(layer)
        factorize_layer(
            folder / "weights", architecture, layer, 1, chosen.method, path, moments=own
        )
    compress(architecture, "tiny", folder / "base.json", chosen, files, output / "c")
    return files


@pytest.mark.parametrize(("method", "tensors", "kind", "share"), KEPT)
def test_what_is_left_is_the_dense_model_with_zeros(method, tensors, kind, share, bases, tmp_path):
    folder, architecture = bases[kind]
    weights = folder / "weights"
    rule = ChannelShare.make(share)
    chosen = Decomposition.make(architecture, [2, 3], tensors, rule, method, "made")
    assert Decomposition.from_name(architecture, chosen.name(architecture)) == chosen
    files = pruned(bases[kind], chosen, tmp_path / "made")
    model, manifest = load_compressed(weights, tmp_path / "made/c", "float32")
    total = sum(parameter.numel() for parameter in model.parameters())
    assert total == manifest["parameters"]["compressed"] < manifest["parameters"]["dense"]
    expected = load_base(weights, "float32")
    for group, count in zip(("attention", "mlp"), KEPT[method, tensors, kind, share], strict=True):
        for layer in chosen.layers if count else ():
            last = architecture.module_path(layer, architecture.family.groups[group][-1])
            module = expected.get_submodule(last)
            kept = kept_parts(read_importance(files[layer], method, layer, group), count)
            # What the last module reads of a part stands together.
            by_part = module.weight.data.view(module.out_features, architecture.parts(group), -1)
            by_part[:, np.setdiff1d(np.arange(architecture.parts(group)), kept)] = 0
    ids = torch.from_numpy(TOKENS.astype("int64"))
    with torch.no_grad():
        found, wanted = model(ids)[0], expected(ids)[0]
        assert torch.allclose(found, wanted, atol=1e-4)
        assert not torch.allclose(load_base(weights, "float32")(ids)[0], wanted, atol=1e-2)
    if architecture.task == "causal":
        export_dense(weights, tmp_path / "made/c", "float32", tmp_path / "dense")
        plain = load_base(tmp_path / "dense", "float32")
        with torch.no_grad():
            assert torch.allclose(plain(ids)[0], wanted, atol=1e-4)


def test_the_group_that_matters_least_goes(bases, tmp_path):
    """By plain sums over the weight and the inputs of one layer's output projection."""
    folder, architecture = bases["gqa"]
    rule = ChannelShare.make(0.7)
    chosen = Decomposition.make(architecture, [2], "attention", rule, "wanda_sp", "made")
    files = pruned(bases["gqa"], chosen, tmp_path / "made")
    model, seen = load_base(folder / "weights", "float32"), []
    projection = model.model.layers[1].self_attn.o_proj
    projection.register_forward_pre_hook(lambda _, given: seen.append(given[0].flatten(0, 1)))
    with torch.no_grad():
        model(torch.from_numpy(TOKENS.astype("int64")))
    x_NI, by_hand, weight_OI = seen[0], [0.0, 0.0, 0.0], projection.weight.detach()
    for column in range(36):
        norm = float((x_NI[:, column] ** 2).mean()) ** 0.5
        by_hand[column // 12] += norm * float(weight_OI[:, column].abs().mean())
    found = read_importance(files[2], "wanda_sp", 2, "attention")
    assert found == pytest.approx(by_hand, rel=1e-4)
    manifest = json.loads((tmp_path / "made/c/manifest.json").read_text())
    (error,) = {own["relative_error"] for own in manifest["modules"].values()}
    assert error == pytest.approx(min(by_hand) / sum(by_hand), rel=1e-4)


def test_taylor_keeps_what_the_loss_rests_on(bases, tmp_path):
    """A group's heads stand together in its projection; their saliences' magnitudes are added."""
    folder, architecture = bases["gqa"]
    rule = ChannelShare.make(0.8)
    chosen = Decomposition.make(architecture, [3], "all", rule, "taylor", "made")
    files = pruned(bases["gqa"], chosen, tmp_path / "made")
    saliences = folder / "gradients" / moments_file(3)
    heads = np.abs(read_salience(saliences, 3, "so"))
    by_hand = [heads[:12].sum(), heads[12:24].sum(), heads[24:].sum()]
    assert read_importance(files[3], "taylor", 3, "attention") == pytest.approx(by_hand)
    channels = np.abs(read_salience(saliences, 3, "d"))
    assert read_importance(files[3], "taylor", 3, "mlp") == pytest.approx(channels)
    with pytest.raises(LowrankError, match="not a readable file of saliences"):
        own = folder / "dense" / moments_file(3)
        given = folder / "weights", architecture, 3, 1, "taylor", tmp_path / "none"
        factorize_layer(*given, moments=own)


@pytest.mark.parametrize("kind", ["mha", "gqa"])
@pytest.mark.parametrize("layers", [[1], [2, 4], ["1-4"]])
def test_layers_of_unlike_heads_are_scored_and_generate_as_lm_eval_does(
    kind, layers, bases, tmp_path
):
    folder, architecture = bases[kind]
    rule = ChannelShare.make(0.6)
    chosen = Decomposition.make(architecture, layers, "all", rule, "wanda_sp", "made")
    pruned(bases[kind], chosen, tmp_path / "made")
    model, _ = load_compressed(folder / "weights", tmp_path / "made/c", "float32")
    size, dense = model.model.layers[0].self_attn.head_dim, architecture.key_value_heads
    keys = [
        next(layer.self_attn.k_proj.parameters()).shape[0] // size for layer in model.model.layers
    ]
    assert keys == [2 if layer in chosen.layers else dense for layer in range(1, 5)]
    tokenizer = load_tokenizer(folder / "weights")
    packed = PackedLM(model, tokenizer, batch_tokens=40, max_length=96)
    assert packed.reason is None
    stock = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=96)
    stem = tiny.words(1, 8)
    pairs = [
        (f"{stem} {tiny.words(question, 2)}?", f" {tiny.words(choice, 1 + choice)}")
        for question in (2, 3)
        for choice in (4, 1)
    ]
    asked = [Instance("loglikelihood", {}, pair, n) for n, pair in enumerate(pairs)]
    for found, wanted in zip(packed.loglikelihood(asked), stock.loglikelihood(asked), strict=True):
        assert found[0] == pytest.approx(wanted[0], abs=1e-3) and found[1] == wanted[1]
    settings = {"until": ["zz"], "max_gen_toks": 6, "do_sample": False}
    asked = [Instance("generate_until", {}, (pair[0], settings), n) for n, pair in enumerate(pairs)]
    assert packed.generate_until(asked) == stock.generate_until(asked)
