"""A directory as a model: its sizes, its identity, and one line for each thing that it lacks."""

import json
import os
import shutil

import pytest
import tiny
import tiny_bert
import torch
from lowrank.assets import local_model
from lowrank.assets.local_model import is_directory, name_of, read_local_model
from lowrank.assets.model_classes import model_from_config
from lowrank.assets.models import fetch_model
from lowrank.assets.sources import DIRECTORIES_VARIABLE
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json
from lowrank.decompose.pretrained_config import MODEL_TYPE
from lowrank.space.architecture import Architecture
from safetensors.torch import load_file, save_file


@pytest.fixture
def folder(tmp_path):
    return tiny.save_model(tmp_path / "mine")


def read(folder, tmp_path):
    return read_local_model("mine", str(folder), tmp_path / "r" / "models" / "mine" / "sums.json")


def test_sizes_and_identity_are_the_directory_s_own(folder, tmp_path):
    (folder / "README.md").write_text("words")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    config, source = read(folder, tmp_path)
    assert Architecture.from_config(config).parameters() == sum(
        own.numel() for own in load_file(folder / "model.safetensors").values()
    )
    taken = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert taken <= set(source["sha256"])
    assert not {"README.md", "pytorch_model.bin"} & set(source["sha256"])
    assert source["sha256"] == {name: tiny.sha256(folder / name) for name in source["sha256"]}


def test_what_is_fetched_is_what_was_read(folder, tmp_path, monkeypatch):
    config, source = read(folder, tmp_path)
    monkeypatch.setenv(DIRECTORIES_VARIABLE, json.dumps({"mine": str(folder)}))
    weights, manifest = tmp_path / "out/weights", tmp_path / "out/manifest.json"
    fetch_model("mine", [source], config, weights, manifest, tmp_path / "wheels")
    made = read_json(manifest)
    assert made["files"] == source["sha256"]
    assert made["source"].startswith("directory:mine@sha256:") and not made["random_weights"]
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    assert (weights / "config.json").read_text() + "\n" == (folder / "config.json").read_text()
    with pytest.raises(LowrankError, match="config.json has changed since this run began"):
        fetch_model("mine", [source], config, weights, manifest, tmp_path / "wheels")
    shutil.rmtree(folder)
    with pytest.raises(LowrankError, match="cannot be copied"):
        fetch_model("mine", [source], config, weights, manifest, tmp_path / "wheels")


def test_checksums_are_computed_once_for_each_state_of_a_file(folder, tmp_path, monkeypatch):
    seen = []
    right = local_model.sha256_file
    monkeypatch.setattr(
        local_model, "sha256_file", lambda path: seen.append(path.name) or right(path)
    )
    first = read(folder, tmp_path)
    count = len(seen)
    assert read(folder, tmp_path) == first and len(seen) == count == len(first[1]["sha256"])
    changed = folder / "tokenizer_config.json"
    times = (changed.stat().st_atime_ns, changed.stat().st_mtime_ns)
    changed.write_text(changed.read_text().replace("</s>", "<|s>"))
    os.utime(changed, ns=times)  # as a copy that keeps times
    assert read(folder, tmp_path)[1]["sha256"]["tokenizer_config.json"] == tiny.sha256(changed)
    assert seen[count:] == ["tokenizer_config.json"]
    (tmp_path / "r/models/mine/sums.json").write_text("[]")
    read(folder, tmp_path)
    assert len(seen) == 2 * count + 1


def test_shards_are_those_of_the_index(tmp_path):
    torch.manual_seed(0)
    folder = tiny.save_model(tmp_path / "mine")
    (folder / "model.safetensors").unlink()
    model_from_config(tiny.ARCHITECTURE).save_pretrained(folder, max_shard_size="50KB")
    save_file({"other": torch.zeros(1)}, folder / "consolidated.safetensors")
    _, source = read(folder, tmp_path)
    taken = {name for name in source["sha256"] if name.endswith(".safetensors")}
    assert len(taken) > 2 and "consolidated.safetensors" not in taken
    shard = sorted(taken)[0]
    (folder / shard).unlink()
    with pytest.raises(LowrankError, match=f"it lacks {shard}, which model.safetensors.index"):
        read(folder, tmp_path)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": []}')
    with pytest.raises(LowrankError, match="lists no weights"):
        read(folder, tmp_path)


def test_an_encoder_without_a_pooler_is_one(tmp_path):
    config, _ = read(tiny_bert.save_model(tmp_path / "a", tiny_bert.BARE), tmp_path / "1")
    assert config["add_pooling_layer"] is False
    config, _ = read(tiny_bert.save_model(tmp_path / "b", tiny_bert.ENCODER), tmp_path / "2")
    assert "add_pooling_layer" not in config


def rewrite(name, change):
    def apply(folder):
        value = read_json(folder / name)
        change(value)
        (folder / name).write_text(json.dumps(value))

    return apply


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def only(name, *there):
    def apply(folder):
        (folder / name).unlink()
        for other in there:
            (folder / other).write_bytes(b"x")

    return apply


def moved(place):
    """Put everything into a folder of the directory, as a cache of the hub or a training has it."""

    def apply(folder):
        files = list(folder.iterdir())
        (folder / place).mkdir(parents=True)
        for path in files:
            path.rename(folder / place / path.name)

    return apply


def linked(name):
    def apply(folder):
        (folder / name).unlink()
        (folder / name).symlink_to("nowhere")

    return apply


def headed(header):
    """Give the weights another header."""
    text = json.dumps(header).encode()
    return lambda folder: (folder / "model.safetensors").write_bytes(
        len(text).to_bytes(8, "little") + text
    )


def saved(folder, name, dtype):
    tensors = load_file(folder / "model.safetensors")
    tensors[name] = tensors[name].to(dtype)
    save_file(tensors, folder / "model.safetensors")


def eight_bits(folder):
    saved(folder, "lm_head.weight", torch.float8_e4m3fn)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
GPTQ = {"quant_method": "gptq", "bits": 4}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (only("config.json"), "it holds no config.json"),
        (moved("snapshots/0a1b"), "no config.json, but .*/snapshots/0a1b does: name that"),
        (moved("checkpoint-500"), "no config.json, but .*/checkpoint-500 does: name that"),
        (only("config.json", "adapter_config.json"), "it is an adapter"),
        (only("config.json", "m.gguf"), "convert it to a Hugging Face directory"),
        (only("model.safetensors"), "it holds no weights: add its model.safetensors, or model"),
        (only("model.safetensors", "pytorch_model.bin"), "it holds its weights as pytorch_model.b"),
        (only("model.safetensors", "m.gguf"), "it holds its weights as m.gguf, .* by `save_pretr"),
        (only("model.safetensors", "model-1.safetensors"), "it holds parts of a model, but no"),
        (linked("model.safetensors"), "model.safetensors is a link to nowhere, which is not there"),
        (linked("config.json"), "config.json is a link to nowhere, which is not there"),
        (linked("tokenizer.json"), "tokenizer.json is a link to nowhere, which is not there"),
        (headed({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, "b"]}}), "read as safet"),
        (lambda f: (f / "config.json").write_text("[" * 20_000), "config.json is not JSON"),
        (only("tokenizer.json"), "has no tokenizer"),
        (lambda f: (f / "tokenizer.json").write_text(""), "tokenizer.json is empty"),
        (
            lambda f: (f / "tokenizer.json").write_text(POINTER),
            "tokenizer.json is a Git LFS pointer",
        ),
        (lambda f: (f / "model.safetensors").write_text(POINTER), "run `git lfs pull`"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 64), "cannot be read as safet"),
        (lambda f: (f / "model.safetensors").write_text("abc"), "cannot be read as safetensors"),
        (cut, "its model.safetensors is not whole"),
        (eight_bits, "holds lm_head.weight as F8_E4M3; only weights in float32"),
        (lambda f: saved(f, "lm_head.weight", torch.int8), "holds lm_head.weight as I8; only"),
        (lambda f: saved(f, "model.norm.weight", torch.bool), "holds model.norm.weight as BOOL"),
        (lambda f: (f / "config.json").write_text("{"), "config.json is not JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "config.json is no configuration"),
        (rewrite("config.json", lambda c: c.update(model_type=MODEL_TYPE)), "is a low-rank check"),
        (rewrite("config.json", lambda c: c.update(quantization_config=GPTQ)), r"quantized \(gptq"),
        (rewrite("config.json", lambda c: c.update(quantization_config={})), "it holds weights th"),
        (
            lambda f: (f / "model.safetensors.index.json").write_text("{}"),
            "delete the one that is old",
        ),
        (shutil.rmtree, "is no directory"),
    ],
)
def test_what_is_missing_or_damaged_is_one_line(folder, tmp_path, spoil, said):
    spoil(folder)
    with pytest.raises(LowrankError, match=said) as caught:
        read(folder, tmp_path)
    assert str(caught.value).startswith(f"config: models: {folder}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("./my-model", "my-model"),
        ("~/Models/Llama-3.2-1B/", "Llama-3.2-1B"),
        ("runs/7/checkpoint 500", "checkpoint-500"),
        ("../Mein Modell (größer)", "Mein-Modell-gr-er"),
        ("$HOME/_x_", "x"),
        ("./.hidden", "hidden"),
    ],
)
def test_names_are_those_of_the_directories(given, name):
    assert is_directory(given) and name_of(given) == name


def test_names_of_entries_are_no_directories():
    assert not any(map(is_directory, ("llama-2-7b", "Llama-3.2-1B", "tiny_llama")))
    with pytest.raises(LowrankError, match="give it one by `name`"):
        name_of("./größ/ß")
