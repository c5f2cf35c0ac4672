"""Walking a model layer by layer: against hooks on the whole model, and against a plain loop."""

import numpy as np
import pytest
import tiny
import tiny_bert
import torch
from lowrank.base.errors import LowrankError
from lowrank.base.files import write_json
from lowrank.decompose.compressed import compress, write_compressed
from lowrank.decompose.layer_factors import factorize_layer
from lowrank.decompose.loading import load_base, load_compressed
from lowrank.decompose.moments import moments_file, read_influence, read_moments
from lowrank.decompose.sequential import sequential_cuts
from lowrank.decompose.walk import Walk, gather_moments
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition

ARCHITECTURE = Architecture.from_config(tiny.ARCHITECTURE)
TOKENS = np.random.default_rng(0).integers(2, 250, size=(6, 12), dtype=np.int32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("walk")
    write_json(folder / "manifest.json", {"files": {"config.json": "0"}, "source": "test"})
    return tiny.save_model(folder / "weights")


@pytest.fixture(scope="module")
def moments(weights):
    folder = weights.parent / "moments"
    gather_moments(weights, ARCHITECTURE, TOKENS, folder)
    return folder


def inputs_by_hooks(model, paths, tokens_ST=TOKENS):
    """What goes into modules of a whole model, (tokens, in) each."""
    seen = {path: [] for path in paths}
    for path in paths:
        model.get_submodule(path).register_forward_pre_hook(
            lambda module, given, path=path: seen[path].append(given[0].flatten(0, 1))
        )
    with torch.no_grad():
        model(torch.from_numpy(tokens_ST.astype("int64")))
    return {path: torch.cat(own).double().numpy() for path, own in seen.items()}


def test_moments_are_those_of_the_whole_model(weights, moments):
    model = load_base(weights, "float32")
    paths = {
        (layer, stage[0]): ARCHITECTURE.module_path(layer, stage[0])
        for layer in range(1, 5)
        for stage in ARCHITECTURE.family.stages
    }
    seen = inputs_by_hooks(model, paths.values())
    for (layer, tensor), path in paths.items():
        found, x_NI = read_moments(moments / moments_file(layer), layer, tensor), seen[path]
        assert found.tokens == len(x_NI) == TOKENS.size
        assert np.allclose(found.second_moment_II, x_NI.T @ x_NI / len(x_NI), rtol=1e-4, atol=1e-5)
        assert np.allclose(found.mean_I, x_NI.mean(axis=0), rtol=1e-4, atol=1e-5)


def test_tensors_of_one_stage_read_one_input(weights):
    model = load_base(weights, "float32")
    for stage in ARCHITECTURE.family.stages:
        paths = [ARCHITECTURE.module_path(2, tensor) for tensor in stage]
        first, *others = inputs_by_hooks(model, paths).values()
        assert all(np.array_equal(first, other) for other in others)
    assert sum(ARCHITECTURE.family.stages, ()) == ARCHITECTURE.tensors


def test_block_influence_is_one_less_the_cosine_of_hidden_states(weights, moments):
    model = load_base(weights, "float32")
    with torch.no_grad():
        ids = torch.from_numpy(TOKENS.astype("int64"))
        states = model(ids, output_hidden_states=True).hidden_states
    for layer in (1, 2, 3):  # the last state of transformers is behind the last norm
        cosine = torch.cosine_similarity(states[layer - 1], states[layer], dim=-1).mean()
        found = read_influence(moments / moments_file(layer), layer)
        assert found == pytest.approx(1 - float(cosine), abs=1e-5)


@pytest.mark.parametrize("config", [tiny_bert.BARE, tiny_bert.ANSWERING])
def test_an_encoder_is_walked_as_well(tmp_path, config):
    folder = tiny_bert.save_model(tmp_path / "bert", config)
    architecture = Architecture.from_config(config)
    tokens = np.random.default_rng(1).integers(5, 20, size=(3, 8), dtype=np.int32)
    gather_moments(folder, architecture, tokens, tmp_path / "moments")
    path = architecture.module_path(2, "o")
    x_NI = inputs_by_hooks(load_base(folder, "float32"), [path], tokens)[path]
    found = read_moments(tmp_path / "moments" / moments_file(2), 2, "o")
    assert np.allclose(found.second_moment_II, x_NI.T @ x_NI / len(x_NI), rtol=1e-4, atol=1e-5)


def compressed(weights, chosen, made, output):
    """Write and load a model from files of factors, or from cuts."""
    given = (ARCHITECTURE, "tiny", weights.parent / "manifest.json", chosen)
    if isinstance(made, dict):
        compress(*given, made, output)
    else:
        write_compressed(*given, output, cuts=made)
    return load_compressed(weights, output, "float32")


@pytest.mark.parametrize("form", ["pairs", "pivoted"])
@pytest.mark.parametrize("method", ["svd_llm", "lord", "asvd"])
def test_a_model_is_cut_from_stored_factors_in_either_form(
    weights, moments, tmp_path, method, form
):
    files = {layer: tmp_path / f"{layer}.safetensors" for layer in (2, 3)}
    for layer, path in files.items():
        own = moments / moments_file(layer)
        factorize_layer(weights, ARCHITECTURE, layer, 32, method, path, moments=own)
    fields = {"method": method, "calibration": "made", "form": form}
    chosen = Decomposition.make(ARCHITECTURE, [2, 3], ["q", "v", "d"], 7, **fields)
    model, manifest = compressed(weights, chosen, files, tmp_path / form)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert total == manifest["parameters"]["compressed"]
    x_NI = inputs_by_hooks(model, [ARCHITECTURE.module_path(2, "q")])
    assert x_NI  # it runs
    other = Decomposition.make(
        ARCHITECTURE, [2, 3], ["q", "v", "d"], 7, **{**fields, "form": "pairs"}
    )
    pairs, _ = compressed(weights, other, files, tmp_path / "other")
    ids = torch.from_numpy(TOKENS.astype("int64"))
    with torch.no_grad():
        assert torch.allclose(model(ids).logits, pairs(ids).logits, atol=2e-3)


def test_the_whole_rank_is_the_dense_model(weights, moments, tmp_path):
    path = tmp_path / "1.safetensors"
    own = moments / moments_file(1)
    factorize_layer(weights, ARCHITECTURE, 1, 32, "lord", path, moments=own)
    chosen = Decomposition.make(
        ARCHITECTURE, [1], ["q"], 32, "lord", calibration="made", form="pivoted"
    )
    model, _ = compressed(weights, chosen, {1: path}, tmp_path / "c")
    ids = torch.from_numpy(TOKENS.astype("int64"))
    with torch.no_grad():
        dense = load_base(weights, "float32")(ids).logits
        assert torch.allclose(model(ids).logits, dense, atol=1e-3)


def test_a_sequence_sees_what_its_predecessors_left(weights, tmp_path):
    """A plain loop over the whole model: hook, take the covariance, replace, go on."""
    chosen = Decomposition.make(ARCHITECTURE, [2, 4], "all", 5, "rom", calibration="made")
    cuts = list(sequential_cuts(ARCHITECTURE, chosen, weights, TOKENS))
    model = load_base(weights, "float32")
    for cut in cuts:
        path = ARCHITECTURE.module_path(cut.layer, cut.tensor)
        module = model.get_submodule(path)
        handles = dict(module._forward_pre_hooks)
        y_NO = inputs_by_hooks(model, [path])[path] @ module.weight.detach().double().numpy().T
        module._forward_pre_hooks.clear()
        assert not handles
        vectors = np.linalg.eigh(np.cov(y_NO.T, bias=True))[1]
        top = vectors[:, ::-1][:, :5]
        projection = top @ top.T
        assert np.allclose(cut.left_OR @ cut.left_OR.T, projection, atol=2e-3)
        module.weight.data = torch.tensor(projection).float() @ module.weight.data
    assert [(cut.layer, cut.tensor) for cut in cuts] == [
        (layer, tensor) for layer in (2, 4) for tensor in ARCHITECTURE.tensors
    ]
    loaded, manifest = compressed(weights, chosen, cuts, tmp_path / "rom")
    ids = torch.from_numpy(TOKENS.astype("int64"))
    with torch.no_grad():
        assert torch.allclose(loaded(ids).logits, model(ids).logits, atol=5e-3)
    assert manifest["decomposition"]["calibration"] == "made"


def test_layers_are_walked_in_order(weights):
    walk = Walk(weights, ARCHITECTURE, TOKENS)
    with pytest.raises(ValueError, match="layer 2 does not follow layer 0"):
        walk.load(2)


def test_weights_of_another_shape_are_refused(tmp_path):
    other = tiny.save_model(tmp_path / "other")
    config = {**tiny.ARCHITECTURE, "intermediate_size": 64}
    path = other / "config.json"
    path.write_text(path.read_text().replace('"intermediate_size": 48', '"intermediate_size": 64'))
    with pytest.raises(LowrankError, match=r"gate_proj.weight has shape \(48, 32\)"):
        Walk(other, Architecture.from_config(config), TOKENS).load(1)
