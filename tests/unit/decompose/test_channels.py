"""Channels that are left out: against zeros in the dense model, and by hand."""

import numpy as np
import pytest
import tiny
import tiny_bert
import torch
from lowrank.base.errors import LowrankError
from lowrank.base.files import write_json
from lowrank.decompose.channels import kept_channels, read_importance, wanda, write_importance
from lowrank.decompose.compressed import compress
from lowrank.decompose.export import export_dense
from lowrank.decompose.layer_factors import factorize_layer
from lowrank.decompose.loading import load_base, load_compressed
from lowrank.decompose.moments import Moments, moments_file
from lowrank.decompose.walk import gather_moments
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from lowrank.space.rank_rule import ChannelShare

TOKENS = np.random.default_rng(0).integers(5, 40, size=(4, 10), dtype=np.int32)
KINDS = {
    "llama": (lambda path: tiny.save_model(path), tiny.ARCHITECTURE, (0.5, 24)),
    "bert": (lambda path: tiny_bert.save_model(path, tiny_bert.BARE), tiny_bert.BARE, (0.5, 24)),
}


def test_wanda_by_hand():
    """Columns of mean magnitude 2 and 3, inputs of root mean square 3 and 1."""
    weights = {"u": np.ones((2, 5)), "d": np.array([[1.0, -3.0], [3.0, 3.0]])}
    inputs = Moments(np.diag([9.0, 1.0]), np.zeros(2), np.ones(2), 7)
    assert wanda(weights, {"d": inputs}).tolist() == [6.0, 3.0]


def test_of_equal_channels_the_first_are_kept():
    assert kept_channels(np.array([1.0, 5.0, 1.0, 5.0]), 3).tolist() == [0, 1, 3]


def test_importance_comes_back_from_its_file(tmp_path):
    path = tmp_path / "layer-2.safetensors"
    write_importance(path, "wanda", 2, np.array([0.1, 2.0]))
    assert read_importance(path, "wanda", 2).tolist() == [0.1, 2.0]
    with pytest.raises(LowrankError, match="it holds layer 2 by wanda"):
        read_importance(path, "wanda", 3)
    write_importance(path, "wanda", 2, np.array([np.nan]))
    with pytest.raises(LowrankError, match="it is not finite"):
        read_importance(path, "wanda", 2)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_is_the_dense_model_with_zeros(kind, tmp_path):
    save, config, (share, count) = KINDS[kind]
    weights, architecture = save(tmp_path / "weights"), Architecture.from_config(config)
    write_json(tmp_path / "base.json", {"files": {}, "source": "test"})
    gather_moments(weights, architecture, TOKENS, tmp_path / "moments")
    chosen = Decomposition.make(
        architecture, [2, 3], "all", ChannelShare.make(share), "wanda", "made"
    )
    files = {layer: tmp_path / f"{layer}.safetensors" for layer in chosen.layers}
    for layer, path in files.items():
        own = tmp_path / "moments" / moments_file(layer)
        factorize_layer(weights, architecture, layer, 1, "wanda", path, moments=own)
    folder = tmp_path / "c"
    compress(architecture, "tiny", tmp_path / "base.json", chosen, files, folder)
    model, manifest = load_compressed(weights, folder, "float32")
    total = sum(parameter.numel() for parameter in model.parameters())
    assert total == manifest["parameters"]["compressed"]
    expected = load_base(weights, "float32")
    for layer in chosen.layers:
        last = expected.get_submodule(architecture.module_path(layer, chosen.tensors[-1]))
        kept = kept_channels(read_importance(files[layer], "wanda", layer), count)
        last.weight.data[:, np.setdiff1d(np.arange(last.weight.shape[1]), kept)] = 0
    ids = torch.from_numpy(TOKENS.astype("int64"))
    with torch.no_grad():
        found, wanted = model(ids)[0], expected(ids)[0]
        assert torch.allclose(found, wanted, atol=1e-4)
    if architecture.task == "causal":
        export_dense(weights, folder, "float32", tmp_path / "dense")
        plain = load_base(tmp_path / "dense", "float32")
        with torch.no_grad():
            assert torch.allclose(plain(ids)[0], wanted, atol=1e-4)
