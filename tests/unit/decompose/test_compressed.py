import shutil

import numpy as np
import pytest
import tiny
import torch
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, write_json
from lowrank.decompose.compressed import compress
from lowrank.decompose.export import export_dense
from lowrank.decompose.layer_factors import LayerFactors, factorize_layer
from lowrank.decompose.linear import LowRankLinear
from lowrank.decompose.loading import load_base, load_compressed, preload
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from lowrank.space.rank_rule import BreakEvenShare, ModuleRanks
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

ARCHITECTURE = Architecture.from_config(tiny.ARCHITECTURE)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny model with its manifest and the factors of all layers."""
    folder = tmp_path_factory.mktemp("base")
    tiny.save_model(folder / "weights")
    write_json(folder / "manifest.json", {"files": {"config.json": "0"}, "source": "test"})
    for layer in range(1, 5):
        for method in ("tucker", "svd"):
            factorize_layer(
                folder / "weights",
                ARCHITECTURE,
                layer,
                8,
                method,
                folder / f"{method}-{layer}.safetensors",
            )
    return folder


def compressed(base, output, layers, **fields):
    decomposition = Decomposition.make(ARCHITECTURE, layers, **fields)
    method = decomposition.method
    files = {layer: base / f"{method}-{layer}.safetensors" for layer in decomposition.layers}
    compress(ARCHITECTURE, "tiny", base / "manifest.json", decomposition, files, output)
    return output


def logits(model):
    with torch.no_grad():
        return model(torch.arange(2, 40)[None]).logits


def by_hand(base, decomposition):
    """The dense model with each decomposed weight replaced by its truncated SVD from NumPy."""
    model = load_base(base / "weights", "float32")
    for layer in decomposition.layers:
        for tensor in decomposition.tensors:
            module = model.get_submodule(ARCHITECTURE.module_path(layer, tensor))
            left, values, right = np.linalg.svd(module.weight.detach().double().numpy())
            rank = decomposition.rank.rank_of(ARCHITECTURE, layer, tensor)
            module.weight.data = torch.tensor(
                (left[:, :rank] * values[:rank]) @ right[:rank]
            ).float()
    return model


A_MODULE = ModuleRanks.make(ARCHITECTURE, {1: {"q": 2, "d": 8}, 4: {"q": 7, "d": 1}})


@pytest.mark.parametrize("method", ["tucker", "svd"])
@pytest.mark.parametrize(
    ("layers", "tensors", "rank", "label", "kept"),
    [
        ([2], "all", 1, 1, [1] * 7),
        ([1, 4], ["q", "d"], 5, 5, [5] * 4),
        # 0.4 of 32 · 32 / 64 = 16, of 16 · 32 / 48 = 10.7 and of 48 · 32 / 80 = 19.2.
        ([3], "all", BreakEvenShare.make(0.4), "0.4 of break-even", [6, 4, 4, 6, 7, 7, 7]),
        ([1, 4], ["q", "d"], A_MODULE, "ranks a module", [2, 8, 7, 1]),
    ],
)
def test_loaded_model_is_the_truncated_one(
    base, tmp_path, method, layers, tensors, rank, label, kept
):
    fields = {"tensors": tensors, "rank": rank, "method": method}
    folder = compressed(base, tmp_path / "c", layers, **fields)
    model, manifest = load_compressed(base / "weights", folder, "float32")
    decomposition = Decomposition.make(ARCHITECTURE, layers, **fields)
    expected = by_hand(base, decomposition)
    assert torch.allclose(logits(model), logits(expected), atol=2e-4)
    replaced = [m for m in model.modules() if isinstance(m, LowRankLinear)]
    assert len(replaced) == len(manifest["modules"]) == len(layers) * len(decomposition.tensors)
    assert manifest["decomposition"]["rank"] == label
    ranks = {
        (entry["layer"], entry["tensor"]): entry["rank"] for entry in manifest["modules"].values()
    }
    assert [ranks[layer, tensor] for layer in layers for tensor in decomposition.tensors] == kept
    counted = sum(parameter.numel() for parameter in model.parameters())
    cores = sum(rank**2 for rank in kept) if method == "tucker" else 0  # folded when loaded
    assert counted == manifest["parameters"]["compressed"] - cores
    for path, entry in manifest["modules"].items():
        rank = entry["rank"]
        assert model.get_submodule(path).right.shape[0] == rank
        dense = load_file(base / "weights" / "model.safetensors")[f"{path}.weight"]
        values = torch.linalg.svdvals(dense.double())
        best = (values[rank:].square().sum() / values.square().sum()).sqrt()
        assert entry["relative_error"] == pytest.approx(float(best), abs=1e-4)


def test_a_preloaded_model_is_taken_once_and_is_the_same(base, tmp_path):
    folder = compressed(base, tmp_path / "c", [2])
    expected = logits(load_compressed(base / "weights", folder, "float32")[0])
    preload(base / "weights", "float32")
    for _ in range(2):  # the first takes what was kept, the second loads anew
        assert torch.equal(
            logits(load_compressed(base / "weights", folder, "float32")[0]), expected
        )
    preload(base / "weights", "float32")
    assert torch.equal(
        logits(load_base(base / "weights", "float32")),
        logits(load_base(base / "weights", "float32")),
    )


def test_what_is_scored_sums_products_in_float32(base, tmp_path):
    settings = torch.backends.cuda.matmul
    names = [f"allow_{dtype}_reduced_precision_reduction" for dtype in ("fp16", "bf16")]
    before = [getattr(settings, name) for name in names]
    try:
        for name in names:
            setattr(settings, name, True)
        load_compressed(base / "weights", compressed(base, tmp_path / "c", []), "float32")
        assert not any(getattr(settings, name) for name in names)
    finally:
        for name, value in zip(names, before, strict=True):
            setattr(settings, name, value)


def test_dense_configuration_is_the_base_model(base, tmp_path):
    folder = compressed(base, tmp_path / "c", [])
    model, manifest = load_compressed(base / "weights", folder, "float32")
    assert torch.equal(logits(model), logits(load_base(base / "weights", "float32")))
    assert manifest["decomposition"]["name"] == "dense"
    assert manifest["parameter_reduction_percent"] == 0.0


def test_manifest_counts_what_the_files_hold(base, tmp_path):
    folder = compressed(base, tmp_path / "c", [2, 3], rank=2)
    manifest = read_json(folder / "manifest.json")
    dense = sum(t.numel() for t in load_file(base / "weights" / "model.safetensors").values())
    factors = sum(tensor.numel() for tensor in load_file(folder / "factors.safetensors").values())
    replaced = sum(np.prod(entry["shape"]) for entry in manifest["modules"].values())
    assert manifest["parameters"] == {"dense": dense, "compressed": dense - replaced + factors}


def test_export_is_a_plain_model_with_the_same_answers(base, tmp_path):
    folder = compressed(base, tmp_path / "c", [1, 3], rank=3)
    export_dense(base / "weights", folder, "float32", tmp_path / "dense")
    model, _ = load_compressed(base / "weights", folder, "float32")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "dense", dtype=torch.float32)
    assert torch.allclose(logits(plain), logits(model), atol=2e-4)
    assert not any(isinstance(module, LowRankLinear) for module in plain.modules())
    assert AutoTokenizer.from_pretrained(tmp_path / "dense")("the a").input_ids
    assert read_json(tmp_path / "dense" / "config.json")["lowrank"]["base"] == "tiny"


def test_drop_leaves_the_layers_out(base, tmp_path):
    folder = compressed(base, tmp_path / "c", [2, 3], method="drop")
    model, manifest = load_compressed(base / "weights", folder, "float32")
    expected = load_base(base / "weights", "float32")
    # A residual layer that writes nothing is a layer left out.
    for layer in (2, 3):
        for tensor in ("so", "d"):
            path = ARCHITECTURE.module_path(layer, tensor)
            expected.get_submodule(path).weight.data.zero_()
    assert torch.allclose(logits(model), logits(expected), atol=1e-5)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert manifest["parameters"]["compressed"] == total
    prompt = torch.arange(2, 20)[None]
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 1}
    assert torch.equal(
        model.generate(prompt, use_cache=True, **options),
        model.generate(prompt, use_cache=False, **options),
    )


def test_low_rank_linear_is_the_product():
    torch.manual_seed(0)
    left, right, bias, x = torch.rand(5, 2), torch.rand(2, 7), torch.rand(5), torch.rand(3, 7)
    layer = LowRankLinear(left, right, bias)
    assert torch.allclose(layer(x), x @ (left @ right).T + bias, atol=1e-6)
    assert torch.equal(layer.weight, left @ right)


class TestNeverDenseByAccident:
    @pytest.fixture
    def folder(self, base, tmp_path):
        return compressed(base, tmp_path / "c", [2], rank=2)

    def refuse(self, base, folder, message):
        with pytest.raises(LowrankError, match=message):
            load_compressed(base / "weights", folder, "float32")

    def edit(self, folder, change, reseal=True):
        tensors = load_file(folder / "factors.safetensors")
        change(tensors)
        save_file(tensors, folder / "factors.safetensors")
        if reseal:
            manifest = read_json(folder / "manifest.json")
            manifest["factors_sha256"] = tiny.sha256(folder / "factors.safetensors")
            write_json(folder / "manifest.json", manifest)

    def test_no_manifest(self, base, folder):
        (folder / "manifest.json").unlink()
        self.refuse(base, folder, "manifest.json does not exist")

    def test_factors_of_another_configuration(self, base, folder):
        self.edit(folder, lambda tensors: tensors.clear(), reseal=False)
        self.refuse(base, folder, "does not match its manifest")

    def test_missing_factor(self, base, folder):
        self.edit(folder, lambda t: t.pop("model.layers.1.mlp.up_proj.left"))
        self.refuse(base, folder, "mlp.up_proj is in the manifest but not in")

    def test_factor_left_over(self, base, folder):
        self.edit(folder, lambda t: t.update({"other.left": torch.zeros(1)}))
        self.refuse(base, folder, "other.left, which the manifest lacks")

    def test_truncated_file(self, base, folder):
        path = folder / "factors.safetensors"
        path.write_bytes(path.read_bytes()[:-7])
        self.refuse(base, folder, "does not match its manifest")

    def test_base_of_other_shapes(self, base, folder, tmp_path):
        tiny.save_model(tmp_path / "other", intermediate_size=64)
        with pytest.raises(LowrankError, match=r"of the base model is not a \[.*\] linear layer"):
            load_compressed(tmp_path / "other", folder, "float32")

    def test_no_other_loader_takes_it(self, folder):
        with pytest.raises((OSError, ValueError)):
            AutoModelForCausalLM.from_pretrained(folder)


class TestBadWeights:
    def factorize(self, directory, tmp_path):
        factorize_layer(directory, ARCHITECTURE, 1, 1, "tucker", tmp_path / "f.safetensors")

    def poison(self, base, tmp_path, change):
        shutil.copytree(base / "weights", tmp_path / "w")
        path = tmp_path / "w" / "model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, metadata={"format": "pt"})
        return tmp_path / "w"

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_not_finite(self, base, tmp_path, value):
        name = "model.layers.0.mlp.up_proj.weight"
        bad = self.poison(base, tmp_path, lambda t: t[name][0].fill_(value))
        with pytest.raises(LowrankError, match=f"{name} holds values that are not finite"):
            self.factorize(bad, tmp_path)
        assert not (tmp_path / "f.safetensors").exists()

    def test_missing_tensor(self, base, tmp_path):
        bad = self.poison(base, tmp_path, lambda t: t.pop("model.layers.0.mlp.up_proj.weight"))
        with pytest.raises(LowrankError, match=r"holds no tensor .*mlp.up_proj.weight"):
            self.factorize(bad, tmp_path)

    def test_other_shape(self, base, tmp_path):
        name = "model.layers.0.self_attn.q_proj.weight"
        bad = self.poison(base, tmp_path, lambda t: t.update({name: torch.zeros(3, 4)}))
        with pytest.raises(LowrankError, match=r"shape \(3, 4\), the architecture says \(32, 32\)"):
            self.factorize(bad, tmp_path)

    def test_pickles_are_not_read(self, tmp_path):
        (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
        with pytest.raises(LowrankError, match="only safetensors are read"):
            self.factorize(tmp_path, tmp_path)

    def test_damaged_factor_file(self, base, tmp_path):
        path = tmp_path / "tucker-1.safetensors"
        path.write_bytes((base / "tucker-1.safetensors").read_bytes()[:100])
        with pytest.raises(LowrankError, match="is not a readable factor file"):
            LayerFactors(path, "tucker", 1)

    def test_rank_beyond_what_is_stored(self, base):
        with pytest.raises(LowrankError, match="holds 8 ranks of q, not 9"):
            LayerFactors(base / "tucker-1.safetensors", "tucker", 1).cut("q", 9)


def test_equal_factors_and_models_are_equal_files(base, tmp_path):
    """Written twice from the same weights: factors, a compressed model, its dense export."""

    def contents(folder):
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    written = []
    for name in ("one", "two"):
        folder = tmp_path / name
        files = {layer: folder / f"layer-{layer}.safetensors" for layer in (2, 3)}
        for layer, path in files.items():
            factorize_layer(base / "weights", ARCHITECTURE, layer, 4, "tucker", path)
        chosen = Decomposition.make(ARCHITECTURE, [2, 3])
        compress(ARCHITECTURE, "tiny", base / "manifest.json", chosen, files, folder / "c")
        export_dense(base / "weights", folder / "c", "float32", folder / "exported")
        written.append([contents(folder), contents(folder / "c"), contents(folder / "exported")])
    assert written[0] == written[1]
    assert [len(files) > 1 for files in written[0]] == [True] * 3
