"""Every family through compression, export and back, against dense models changed by hand."""

import numpy as np
import pytest
import tiny_families
import torch
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json
from lowrank.decompose import linear
from lowrank.decompose.channels import kept_parts, read_importance
from lowrank.decompose.compressed import compress
from lowrank.decompose.export import export_dense
from lowrank.decompose.gradients import gather_gradients
from lowrank.decompose.layer_factors import factorize_layer
from lowrank.decompose.loading import load_base, load_compressed
from lowrank.decompose.moments import moments_file, read_moments
from lowrank.decompose.salience import read_salience
from lowrank.decompose.walk import gather_moments
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from lowrank.space.methods import METHODS
from lowrank.space.rank_rule import ChannelShare
from tiny_families import DECODERS, ENCODERS, WINDOWS, config_of
from transformers import AutoModelForCausalLM

TOKENS = np.random.default_rng(0).integers(5, 110, size=(3, 12), dtype=np.int32)
KINDS = {name: config_of(name) for name in (*DECODERS, *ENCODERS)}
KINDS["roberta answering"] = config_of("roberta", architectures=["RobertaForQuestionAnswering"])
# Windows that are shorter than a sample, in some of the layers.
KINDS["mistral windows"] = config_of("mistral", sliding_window=5)
KINDS["phi3 windows"] = config_of("phi3", sliding_window=5)
KINDS["qwen2 windows"] = config_of("qwen2", **WINDOWS)
KINDS["qwen3 windows"] = config_of("qwen3", **WINDOWS)
KINDS["gemma2 windows"] = config_of("gemma2", sliding_window=5)
KINDS["gemma3_text windows"] = config_of("gemma3_text", sliding_window=5)
CAUSAL = [kind for kind in KINDS if kind.split()[0] in DECODERS]


@pytest.fixture(scope="module", autouse=True)
def one_thread_and_no_padding():
    """Models this small are slower with two threads; padding for GPUs would count as parameters."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "MULTIPLE", 1)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Models, made when they are asked for, by kind."""
    made = {}

    def of(kind):
        if kind not in made:
            made[kind] = tiny_families.save(tmp_path_factory.mktemp("base"), KINDS[kind])
        return made[kind], Architecture.from_config(KINDS[kind])

    return of


@torch.no_grad()
def outputs(model):
    return model(torch.from_numpy(TOKENS.astype("int64")))[0]


def compressed(base, chosen, output, moments=None):
    """Write the compressed model of a configuration; return its folder and its layers' files."""
    folder, architecture = base
    output.mkdir()
    files = {layer: output / f"{layer}.safetensors" for layer in chosen.layers}
    for layer, path in files.items() if chosen.has_factors else ():
        own = None if moments is None else moments / moments_file(layer)
        given = folder / "weights", architecture, layer, 32, chosen.method, path
        factorize_layer(*given, moments=own)
    made = output / "made"
    compress(architecture, "tiny", folder / "manifest.json", chosen, files, made)
    return made, files


def check(base, made, expected, tmp_path):
    """The loaded model, and its export, give what the expected one does; the counts are true."""
    weights, (wanted, dense) = base[0] / "weights", map(outputs, (expected, load(base)))
    model, manifest = load_compressed(weights, made, "float32")
    total = sum(parameter.numel() for parameter in model.parameters())
    cores = sum(own["rank"] ** 2 for own in manifest["modules"].values())
    has_core = METHODS[manifest["decomposition"]["method"]].has_core
    assert manifest["parameters"]["compressed"] == total + cores * has_core
    scale = wanted.abs().max()
    assert torch.allclose(outputs(model), wanted, atol=1e-4 * scale)
    assert not torch.allclose(dense, wanted, atol=1e-2 * scale)
    export_dense(weights, made, "float32", tmp_path / "dense")
    plain = load_base(tmp_path / "dense", "float32")
    assert torch.allclose(outputs(plain), wanted, atol=1e-4 * scale)
    return model


def load(base):
    return load_base(base[0] / "weights", "float32")


@pytest.mark.parametrize(("method", "form"), [("tucker", "pairs"), ("svd", "pivoted")])
@pytest.mark.parametrize("kind", KINDS)
def test_decomposed_tensors_are_truncated(kind, method, form, bases, tmp_path):
    base = folder, architecture = bases(kind)
    chosen = Decomposition.make(architecture, [1, 3], rank=5, method=method, form=form)
    made, _ = compressed(base, chosen, tmp_path / "c")
    expected = load_base(folder / "weights", "float32")
    for layer in (1, 3):
        for tensor in architecture.tensors:
            module = expected.get_submodule(architecture.module_path(layer, tensor))
            left, values, right = np.linalg.svd(module.weight.detach().double().numpy())
            weight = (left[:, :5] * values[:5]) @ right[:5]
            module.weight.data = torch.from_numpy(weight).float()
    check(base, made, expected, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_that_are_left_out_leave_the_others_as_they_are(kind, bases, tmp_path):
    base = folder, architecture = bases(kind)
    chosen = Decomposition.make(architecture, [2, 3], method="drop")
    made, _ = compressed(base, chosen, tmp_path / "c")
    expected, layers = load_base(folder / "weights", "float32"), architecture.family.layer_path
    for layer in (2, 3):
        # What comes out of a layer is what went into it.
        expected.get_submodule(f"{layers}.{layer - 1}").forward = lambda hidden, *_, **__: hidden
    model = check(base, made, expected, tmp_path)
    if architecture.task == "causal":
        options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 1}
        prompt = torch.from_numpy(TOKENS[:1].astype("int64"))
        first, second = (
            model.generate(prompt, use_cache=kept, **options) for kept in (True, False)
        )
        assert torch.equal(first, second)


@pytest.mark.parametrize("kind", KINDS)
def test_what_goes_into_modules_is_that_of_the_whole_model(kind, bases, tmp_path):
    folder, architecture = bases(kind)
    gather_moments(folder / "weights", architecture, TOKENS, tmp_path / "moments")
    model, seen = load_base(folder / "weights", "float32"), {}
    for layer in range(1, architecture.layers + 1):
        for stage in architecture.family.stages:
            module = model.get_submodule(architecture.module_path(layer, stage[0]))
            key = layer, stage[0]
            module.register_forward_pre_hook(
                lambda _, given, key=key: seen.update({key: given[0].flatten(0, 1).double()})
            )
    outputs(model)
    assert len(seen) == 4 * len(architecture.family.stages)
    for (layer, tensor), x_NI in seen.items():
        found = read_moments(tmp_path / "moments" / moments_file(layer), layer, tensor)
        expected_II = (x_NI.T @ x_NI / len(x_NI)).numpy()
        atol = 1e-4 * np.abs(expected_II).max()
        assert np.allclose(found.second_moment_II, expected_II, atol=atol)


@pytest.mark.parametrize("kind", KINDS)
def test_channels_that_are_left_out_are_zeros(kind, bases, tmp_path):
    base = folder, architecture = bases(kind)
    gather_moments(folder / "weights", architecture, TOKENS, tmp_path / "moments")
    share, layers = ChannelShare.make(0.5), [1, 4]
    chosen = Decomposition.make(architecture, layers, "mlp", share, "wanda", "made")
    made, files = compressed(base, chosen, tmp_path / "c", tmp_path / "moments")
    expected = load_base(folder / "weights", "float32")
    for layer in layers:
        last = architecture.module_path(layer, architecture.family.groups["mlp"][-1])
        importance_P = read_importance(files[layer], "wanda", layer, "mlp")
        kept = kept_parts(importance_P, share.kept(architecture, "mlp"))
        left_out = np.setdiff1d(np.arange(48), kept)
        expected.get_submodule(last).weight.data[:, left_out] = 0
    check(base, made, expected, tmp_path)


@pytest.mark.parametrize("kind", [kind for kind in CAUSAL if not kind.startswith("phi3")])
def test_heads_that_are_left_out_are_zeros(kind, bases, tmp_path):
    base = folder, architecture = bases(kind)
    gather_moments(folder / "weights", architecture, TOKENS, tmp_path / "moments")
    share = ChannelShare.make(0.5)
    chosen = Decomposition.make(architecture, [2], "attention", share, "wanda_sp", "made")
    made, files = compressed(base, chosen, tmp_path / "c", tmp_path / "moments")
    importance_P = read_importance(files[2], "wanda_sp", 2, "attention")
    (kept,) = kept_parts(importance_P, share.kept(architecture, "attention"))
    expected = load_base(folder / "weights", "float32")
    weight = expected.get_submodule(architecture.module_path(2, "so")).weight.data
    weight.view(len(weight), 2, -1)[:, 1 - kept] = 0
    check(base, made, expected, tmp_path)


@pytest.mark.parametrize("kind", CAUSAL)
def test_gradients_are_those_of_the_whole_model(kind, bases, tmp_path):
    folder, architecture = bases(kind)
    gather_gradients(folder / "weights", architecture, TOKENS, tmp_path / "gradients")
    model, seen = load_base(folder / "weights", "float32"), {}
    lasts = [architecture.family.groups[group][-1] for group in ("attention", "mlp")]
    for key in [(layer, tensor) for layer in (1, 2, 3, 4) for tensor in lasts]:
        module = model.get_submodule(architecture.module_path(*key))
        module.register_forward_pre_hook(
            lambda _, given, key=key: (given[0].retain_grad(), seen.update({key: given[0]}))[0]
        )
    ids = torch.from_numpy(TOKENS.astype("int64"))
    model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    for (layer, tensor), x in seen.items():
        by_hooks = (x.double() * x.grad.double()).sum(dim=(0, 1)).detach().numpy()
        found = read_salience(tmp_path / "gradients" / moments_file(layer), layer, tensor)
        assert np.allclose(found, by_hooks, rtol=0, atol=2e-3 * np.abs(by_hooks).max())


@pytest.mark.parametrize("kind", CAUSAL)
def test_an_export_is_what_transformers_alone_loads(kind, bases, tmp_path):
    """Types of the layers that remain stand in `config.json`, and no remote code is asked for."""
    base = folder, architecture = bases(kind)
    made, _ = compressed(base, Decomposition.make(architecture, [1], method="drop"), tmp_path / "c")
    export_dense(folder / "weights", made, "float32", tmp_path / "dense")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "dense", dtype=torch.float32).eval()
    model, _ = load_compressed(folder / "weights", made, "float32")
    assert torch.allclose(outputs(plain), outputs(model), atol=1e-5)
    config = read_json(tmp_path / "dense" / "config.json")
    assert config["num_hidden_layers"] == 3
    types = getattr(load_base(folder / "weights", "float32").config, "layer_types", None)
    assert config.get("layer_types") == (None if types is None else types[1:])


NEW_BIASES = {"llama": "all", "qwen3": "attention", "gemma2": "attention", "mistral": None}


@pytest.mark.parametrize("kind", NEW_BIASES)
def test_a_bias_that_compression_gives_is_in_the_dense_form_or_there_is_none(kind, bases, tmp_path):
    base = folder, architecture = bases(kind)
    gather_moments(folder / "weights", architecture, TOKENS, tmp_path / "moments")
    tensors = NEW_BIASES[kind] or "all"
    chosen = Decomposition.make(architecture, [2], tensors, 5, "lord", calibration="made")
    made, _ = compressed(base, chosen, tmp_path / "c", tmp_path / "moments")
    if NEW_BIASES[kind] is None:
        with pytest.raises(LowrankError, match="gives q a bias, for which dense mistral models"):
            export_dense(folder / "weights", made, "float32", tmp_path / "dense")
        return
    export_dense(folder / "weights", made, "float32", tmp_path / "dense")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "dense").eval()
    model, _ = load_compressed(folder / "weights", made, "float32")
    assert torch.allclose(outputs(plain), outputs(model), atol=1e-4 * outputs(model).abs().max())
