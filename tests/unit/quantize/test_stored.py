"""Quantized models as files: what is loaded is what was written, or an error."""

import json
import shutil

import pytest
import tiny
import torch
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, sha256_file, write_json
from lowrank.decompose.loading import load_base, load_compressed
from lowrank.quantize import quantizing
from lowrank.quantize.sizes import weight_bytes
from lowrank.quantize.stored import (
    load_model,
    load_model_beside,
    load_quantized,
    quantize_compressed,
    write_quantized,
)
from lowrank.space.architecture import Architecture
from quantizations import ENTRIES, NESTED, every, logits
from safetensors.torch import load_file, save_file

ARCHITECTURE = Architecture.from_config(tiny.ARCHITECTURE)


def write(folder, output, name="pairs", entry=NESTED, dtype="float32"):
    model, manifest = load_compressed(folder / "weights", folder / name, dtype)
    return model, write_quantized(model, manifest, "mine", entry, output)


@pytest.fixture(scope="module")
def written(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("written") / "pairs"
    write(folder, output)
    return output


@every
@pytest.mark.parametrize("name", ["dense", "pairs", "pivoted"])
def test_what_is_loaded_is_what_was_written_to_the_bit(folder, tmp_path, monkeypatch, name, entry):
    model, manifest = write(folder, tmp_path / "made", name, entry)
    monkeypatch.setattr(quantizing, "_encode", None)  # nothing is quantized anew
    loaded, again = load_quantized(folder / "weights", folder / name, tmp_path / "made", "float32")
    assert again == json.loads(json.dumps(manifest))
    assert (
        type(loaded.model.layers[0].mlp.up_proj).__mro__[1:]
        == (type(model.model.layers[0].mlp.up_proj).__mro__[1:])
    )
    assert torch.equal(logits(loaded), logits(model))
    ours, theirs = (
        {**dict(m.named_parameters()), **dict(m.named_buffers())} for m in (model, loaded)
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert weight_bytes(loaded) == weight_bytes(model) == manifest["bytes"]["memory"]


def test_equal_models_are_equal_bytes(folder, tmp_path, written):
    write(folder, tmp_path / "again")
    assert sha256_file(tmp_path / "again/factors.safetensors") == sha256_file(
        written / "factors.safetensors"
    )


def test_the_manifest_counts_the_bytes_of_the_file_and_of_the_whole_model(folder, written):
    manifest = read_json(written / "manifest.json")
    size = manifest["bytes"]
    arrays = load_file(written / "factors.safetensors")
    assert size["quantized"] == sum(array.nbytes for array in arrays.values())
    assert size["file"] == (written / "factors.safetensors").stat().st_size
    below = read_json(folder / "pairs/manifest.json")
    assert size["unquantized"] == {
        str(bits): below["parameters"]["compressed"] * bits // 8 for bits in (16, 32)
    }
    assert size["dense"]["16"] == 2 * ARCHITECTURE.parameters()
    rest = below["parameters"]["compressed"] - manifest["facts"]["numbers"]
    assert size["model"] == {str(b): size["quantized"] + rest * b // 8 for b in (16, 32)}
    assert manifest["dtype"] == "float32" and manifest["quantization"]["name"] == "mine"
    own = below["decomposition"]
    expected = {**own, "name": f"{own['name']}+mine", "after": ["mine"]}
    assert manifest["decomposition"] == expected and manifest["parameters"] == below["parameters"]
    assert manifest["base"] == below["base"]


def test_codes_of_single_precision_can_be_used_in_half(folder, written):
    loaded, _ = load_quantized(folder / "weights", folder / "pairs", written, "bfloat16")
    assert loaded.model.layers[0].mlp.up_proj.left.dtype == torch.bfloat16
    assert logits(loaded).isfinite().all()


def damaged(written, tmp_path):
    shutil.copytree(written, tmp_path / "copy")
    return tmp_path / "copy"


def load_copy(folder, copy, name="pairs"):
    return load_quantized(folder / "weights", folder / name, copy, "float32")


def resign(copy):
    manifest = read_json(copy / "manifest.json")
    manifest["factors_sha256"] = sha256_file(copy / "factors.safetensors")
    write_json(copy / "manifest.json", manifest)


def test_a_changed_file_is_refused(folder, written, tmp_path):
    copy = damaged(written, tmp_path)
    content = bytearray((copy / "factors.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "factors.safetensors").write_bytes(content)
    with pytest.raises(LowrankError, match="does not match its manifest"):
        load_copy(folder, copy)


def test_other_factors_below_are_refused(folder, written):
    with pytest.raises(LowrankError, match="made of other factors"):
        load_copy(folder, written, "pivoted")


@pytest.mark.parametrize("change", ["missing", "more", "other format", "not in the manifest"])
def test_what_does_not_belong_together_is_refused(folder, written, tmp_path, change):
    copy = damaged(written, tmp_path)
    arrays, manifest = load_file(copy / "factors.safetensors"), read_json(copy / "manifest.json")
    name = "model.layers.0.mlp.up_proj.left"
    if change == "missing":
        arrays = {key: array for key, array in arrays.items() if not key.startswith(name)}
        message = "is not that of the model"
    elif change == "more":
        arrays["model.layers.9.codes"] = torch.zeros(2)
        message = "which the manifest lacks"
    elif change == "other format":
        manifest["format"] = "lowrank-compressed-2"
        message = "is not a manifest of format"
    else:
        del manifest["tensors"][name]
        message = f"{name} is in the model or in .*, not in both"
    save_file(arrays, copy / "factors.safetensors")
    write_json(copy / "manifest.json", manifest)
    resign(copy)
    with pytest.raises(LowrankError, match=message):
        load_copy(folder, copy)


def test_a_model_that_cannot_be_quantized_leaves_no_files(folder, tmp_path):
    model, manifest = load_compressed(folder / "weights", folder / "dense", "float32")
    model.model.layers[0].mlp.up_proj.weight.data[0, 0] = torch.nan
    with pytest.raises(LowrankError, match="not finite"):
        write_quantized(model, manifest, "mine", ENTRIES["nf4"], tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["dense", "pairs", "pivoted"])
def test_one_loader_takes_what_is_quantized_and_what_is_not(folder, tmp_path, name):
    """A quantized model finds what it lies on beside it, by its name."""
    base = folder / "weights"
    below = tmp_path / read_json(folder / name / "manifest.json")["decomposition"]["name"]
    shutil.copytree(folder / name, below)
    quantize_compressed(base, below, "mine", NESTED, tmp_path / "made", "float32")
    plain, manifest = load_model(base, below, "float32")
    few, of_few = load_model(base, tmp_path / "made", "float32")
    assert of_few["decomposition"]["name"] == f"{manifest['decomposition']['name']}+mine"
    whole, _ = load_compressed(base, below, "float32")
    assert torch.equal(logits(plain), logits(whole))
    assert not torch.equal(logits(few), logits(whole))
    assert weight_bytes(few) < weight_bytes(whole)
    dense = load_base(base, "float32")
    before = logits(dense)
    for path, expected in ((below, whole), (tmp_path / "made", few)):
        beside = load_model_beside(dense, path, "float32")
        assert torch.equal(logits(beside), logits(expected))
    assert torch.equal(logits(dense), before)  # its weights are its own
