import numpy as np
import pytest
import tiny
import torch
from lowrank.base.errors import LowrankError
from lowrank.base.files import sha256_file, write_json
from lowrank.decompose.channels import write_importance
from lowrank.decompose.compressed import compress
from lowrank.decompose.compressed_format import FACTORS, MANIFEST
from lowrank.decompose.layer_factors import factorize_layer
from lowrank.decompose.loading import load_base, load_compressed, read_factors, read_manifest
from lowrank.recover.pieces import as_pieces, changed_arrays
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from lowrank.space.rank_rule import ChannelShare
from safetensors.torch import save_file

ARCHITECTURE = Architecture.from_config(tiny.ARCHITECTURE)

KINDS = ["dense", "tucker", "svd", "pivoted", "wanda_sp", "drop"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny.save_model(tmp_path_factory.mktemp("weights") / "weights")


@pytest.fixture(scope="module")
def compressed(weights, tmp_path_factory):
    """Models of all forms."""
    folder = tmp_path_factory.mktemp("compressed")
    write_json(folder / "manifest.json", {"files": {"config.json": "0"}, "source": "test"})
    made = {}
    for kind in KINDS:
        method = {"dense": "svd", "pivoted": "svd"}.get(kind, kind)
        files = {}
        for layer in (2, 3):
            files[layer] = folder / f"{kind}-{layer}.safetensors"
            if method == "wanda_sp":
                parts = {"mlp": np.arange(48.0), "attention": np.array([1.0, 2.0])}
                write_importance(files[layer], method, layer, parts)
            elif method != "drop":
                factorize_layer(weights, ARCHITECTURE, layer, 7, method, files[layer])
        decomposition = Decomposition.make(
            ARCHITECTURE,
            [] if kind == "dense" else [2, 3],
            rank=ChannelShare.make(0.6) if kind == "wanda_sp" else 7,
            method=method,
            form="pivoted" if kind == "pivoted" else "pairs",
            calibration="none",
        )
        made[kind] = folder / kind
        compress(ARCHITECTURE, "tiny", folder / "manifest.json", decomposition, files, made[kind])
    return made


def logits(model):
    with torch.no_grad():
        return model(torch.arange(2, 40)[None]).logits


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_compute_what_the_compressed_model_does(weights, compressed, kind):
    whole, _ = load_compressed(weights, compressed[kind], "float32")
    model, pieces = as_pieces(weights, compressed[kind], "float32")
    torch.testing.assert_close(logits(model), logits(whole), rtol=1e-4, atol=1e-4)
    layers = 2 if kind == "drop" else 4
    each = {"tucker": 3, "svd": 2, "pivoted": 2}.get(kind, 1)
    assert len(pieces) == 7 * (2 * each + layers - 2 if layers == 4 else layers)
    assert all(isinstance(model.get_submodule(piece.path), torch.nn.Linear) for piece in pieces)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def rewritten(folder, output, arrays, changed):
    """A compressed model with other arrays."""
    manifest = read_manifest(folder)
    output.mkdir()
    save_file(arrays, output / FACTORS)
    write_json(
        output / MANIFEST,
        manifest | {"changed": changed, "factors_sha256": sha256_file(output / FACTORS)},
    )
    return output


@pytest.mark.parametrize("how", ["weights", "updates", "both in turn"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_training_changes_is_loaded(weights, compressed, kind, how, tmp_path):
    """The model that was trained and the one that is loaded compute the same."""
    model, pieces = as_pieces(weights, compressed[kind], "float32")
    stored = read_factors(compressed[kind], read_manifest(compressed[kind]))
    changed = {}
    generator = torch.Generator().manual_seed(0)
    for turn in ["weights", "updates", "updates"] if how == "both in turn" else [how]:
        new, added = {}, {}
        for piece in pieces[::2]:
            weight = model.get_submodule(piece.path).weight
            left = torch.randn(len(weight), 2, generator=generator) / 20
            right = torch.randn(2, weight.shape[1], generator=generator) / 20
            weight.data += left @ right
            if turn == "weights":
                new[piece.path] = weight.detach().clone()
            else:
                added[piece.path] = (left, right)
        stored, own = changed_arrays(pieces, new, added, stored)
        changed |= own
    output = rewritten(compressed[kind], tmp_path / "new", stored, changed)
    loaded, _ = load_compressed(weights, output, "float32")
    torch.testing.assert_close(logits(loaded), logits(model), rtol=1e-4, atol=1e-4)
    before, _ = load_compressed(weights, compressed[kind], "float32")
    assert (logits(before) - logits(loaded)).abs().max() > 1e-2
    again, _ = as_pieces(weights, output, "float32")  # and trained on
    torch.testing.assert_close(logits(again), logits(loaded), rtol=1e-4, atol=1e-4)


def test_the_dense_model_keeps_its_weights(weights, compressed):
    dense = load_base(weights, "float32")
    model, pieces = as_pieces(weights, compressed["dense"], "float32")
    before = logits(dense)
    model.get_submodule(pieces[0].path).weight.data.zero_()
    assert torch.equal(logits(dense), before)


def test_what_is_not_finite_is_refused(weights, compressed):
    model, pieces = as_pieces(weights, compressed["svd"], "float32")
    weight = model.get_submodule(pieces[0].path).weight.clone()
    weight[0, 0] = float("nan")
    with pytest.raises(LowrankError, match=r"not finite: use a smaller `learning_rate`"):
        changed_arrays(pieces, {pieces[0].path: weight}, {}, {})


def test_a_change_of_another_shape_is_refused(weights, compressed, tmp_path):
    path = "model.layers.0.mlp.up_proj"
    arrays = {f"{path}.weight": torch.zeros(2, 2)}
    output = rewritten(compressed["dense"], tmp_path / "new", arrays, {path: "weight"})
    with pytest.raises(LowrankError, match=f"{path} was changed to another shape"):
        load_compressed(weights, output, "float32")
    missing = rewritten(compressed["dense"], tmp_path / "newer", {}, {path: "weight"})
    with pytest.raises(LowrankError, match=f"{path} is in the manifest but not in"):
        load_compressed(weights, missing, "float32")
