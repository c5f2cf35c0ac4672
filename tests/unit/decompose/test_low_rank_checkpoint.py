"""Low-rank checkpoints: in transformers' own hands they are the compressed model, or an error."""

import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import lowrank
import numpy as np
import pytest
import tiny
import tiny_bert
import torch
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, sha256_file, write_json
from lowrank.decompose.compressed import compress
from lowrank.decompose.compressed_format import FACTORS, MANIFEST
from lowrank.decompose.export_low_rank import export_low_rank
from lowrank.decompose.layer_factors import factorize_layer
from lowrank.decompose.loading import load_compressed
from lowrank.decompose.moments import moments_file
from lowrank.decompose.walk import gather_moments
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from lowrank.space.methods import METHODS, PIVOTED
from lowrank.space.rank_rule import ChannelShare
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoTokenizer,
)

TIED = {"model_type": "llama", "tie_word_embeddings": True}
# Wide enough for ranks that are padded where a model is scored.
WIDE = {
    "model_type": "llama",
    "hidden_size": 160,
    "intermediate_size": 168,
    "num_hidden_layers": 2,
    "num_key_value_heads": 4,
}
MISTRAL = {"model_type": "mistral", "num_key_value_heads": 2}
BIASED = {"model_type": "llama", "attention_bias": True, "mlp_bias": True}

# From a name to the model, and to the fields of its configuration.
KINDS = {
    "pairs": ({"model_type": "llama"}, {"layers": [1, 3], "rank": 3, "method": "svd"}),
    "core": (TIED, {"layers": [2], "rank": 4, "method": "tucker"}),
    "pivoted": (TIED, {"layers": [2, 4], "rank": 5, "method": "svd", "form": PIVOTED}),
    "padded": (WIDE, {"layers": [1], "rank": 67, "method": "svd"}),
    "padded, pivoted": (WIDE, {"layers": [2], "rank": 67, "method": "svd", "form": PIVOTED}),
    "biases": (BIASED, {"layers": [2], "rank": 2, "method": "lord", "calibration": "made"}),
    "new biases": (TIED, {"layers": [2], "rank": 2, "method": "lord", "calibration": "made"}),
    "channels": (
        MISTRAL,
        {
            "layers": [2, 3],
            "rank": ChannelShare.make(0.5),
            "method": "wanda_sp",
            "calibration": "made",
        },
    ),
    "channels, biases": (
        BIASED,
        {
            "layers": [1],
            "rank": ChannelShare.make(0.5),
            "method": "wanda_sp",
            "calibration": "made",
        },
    ),
    "dropped": (TIED, {"layers": [2, 3], "method": "drop"}),
    "dense": ({"model_type": "llama"}, {"layers": []}),
    "encoder": (tiny_bert.BARE, {"layers": [2], "rank": 3, "method": "svd"}),
    "answering": (tiny_bert.ANSWERING, {"layers": [2, 3], "rank": 3, "method": "svd"}),
    "encoder, dropped": (tiny_bert.ENCODER, {"layers": [2], "method": "drop"}),
}
IDS = torch.arange(5, 45)[None]


def save(folder, fields):
    """Save a model with its manifest; return its architecture."""
    if fields["model_type"] == "bert":
        tiny_bert.save_model(folder / "weights", fields)
    else:
        tiny.save_model(folder / "weights", **fields)
    write_json(folder / "manifest.json", {"files": {}, "source": "test"})
    config = read_json(folder / "weights/config.json")
    if fields.get("add_pooling_layer", True) is False:
        config["add_pooling_layer"] = False
    return Architecture.from_config(config)


def compressed(folder, fields, wanted):
    """Write a model and its compressed form to a folder."""
    architecture = save(folder, fields)
    chosen = Decomposition.make(architecture, **wanted)
    files = {layer: folder / f"{layer}.safetensors" for layer in chosen.layers}
    if METHODS[chosen.method].scope == "layer" if chosen.layers else True:
        files = {}
    if files and METHODS[chosen.method].inputs == "dense":
        tokens = np.random.default_rng(0).integers(5, 40, size=(4, 10), dtype=np.int32)
        gather_moments(folder / "weights", architecture, tokens, folder / "moments")
    for layer, path in files.items():
        own = folder / "moments" / moments_file(layer)
        own = own if own.exists() else None
        factorize_layer(
            folder / "weights", architecture, layer, 67, chosen.method, path, moments=own
        )
    compress(architecture, "m", folder / "manifest.json", chosen, files, folder / "c")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """From a kind to the folder of its base, its compressed form `c` and its checkpoint `x`."""
    folders = {}
    for kind, (fields, wanted) in KINDS.items():
        folder = folders[kind] = tmp_path_factory.mktemp("kind")
        compressed(folder, fields, wanted)
        export_low_rank(folder / "weights", folder / "c", "float32", folder / "x")
    return folders


def auto_of(directory):
    name = read_json(Path(directory) / "config.json")["lowrank"]["class"]
    if name.endswith("CausalLM"):
        return AutoModelForCausalLM
    return AutoModelForQuestionAnswering if name.endswith("Answering") else AutoModel


def outputs(model):
    with torch.no_grad():
        return torch.cat([part.flatten() for part in model(IDS, use_cache=False)[:2]])


def numbers(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_is_the_compressed_model(made, kind, tmp_path):
    folder = made[kind]
    wanted, manifest = load_compressed(folder / "weights", folder / "c", "float32")
    found = auto_of(folder / "x").from_pretrained(folder / "x")
    assert type(found).__mro__[2] is type(wanted) and not found.training
    assert torch.allclose(outputs(found), outputs(wanted), atol=1e-4)
    # As many numbers as the reduction says; a core is multiplied into a factor.
    ranks = [own["rank"] for own in manifest["modules"].values()]
    cores = sum(rank**2 for rank in ranks) if manifest["decomposition"]["method"] == "tucker" else 0
    assert numbers(found) == manifest["parameters"]["compressed"] - cores
    # Saved again, in parts, it is the same once more.
    found.save_pretrained(tmp_path / "again", max_shard_size="40KB")
    assert len(list((tmp_path / "again").glob("*.safetensors"))) > 1
    again = auto_of(tmp_path / "again").from_pretrained(tmp_path / "again")
    assert torch.allclose(outputs(again), outputs(found), atol=1e-6)
    assert all(map(torch.equal, again.state_dict().values(), found.state_dict().values()))
    assert AutoTokenizer.from_pretrained(folder / "x")("the a").input_ids


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_are_what_the_number_of_parameters_says(made, kind):
    folder = made[kind]
    for dtype, size in ((torch.float32, 4), (torch.bfloat16, 2)):
        model = auto_of(folder / "x").from_pretrained(folder / "x", dtype=dtype)
        assert {parameter.dtype for parameter in model.parameters()} == {dtype}
        held = {p.data_ptr(): p.untyped_storage().nbytes() for p in model.parameters()}
        assert sum(held.values()) == size * numbers(model)
    (path,) = (folder / "x").glob("*.safetensors")
    header = int.from_bytes(path.read_bytes()[:8], "little")
    stored = load_file(path)
    indices = sum(4 * array.numel() for array in stored.values() if array.dtype == torch.int32)
    assert path.stat().st_size == 8 + header + 4 * numbers(model) + indices


@pytest.mark.parametrize("kind", ["pairs", "pivoted", "channels", "dropped"])
def test_it_generates_what_the_compressed_model_does(made, kind):
    folder = made[kind]
    wanted, _ = load_compressed(folder / "weights", folder / "c", "float32")
    found = AutoModelForCausalLM.from_pretrained(folder / "x", device_map="auto")
    settings = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 1}
    assert found.generate(IDS, **settings).equal(wanted.generate(IDS, **settings))


def test_parts_that_are_saved_over_a_single_file_are_what_is_loaded(made, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(made["pairs"] / "x")
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        model.model.norm.weight.add_(1)
    for size in ("100KB", "1GB"):
        model.save_pretrained(tmp_path, max_shard_size=size)
        found = AutoModelForCausalLM.from_pretrained(tmp_path)
        assert found.model.norm.weight.equal(model.model.norm.weight)


def test_copies_and_pickles_are_the_same_model(made):
    model = AutoModelForCausalLM.from_pretrained(made["pivoted"] / "x")
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert outputs(copied).equal(outputs(model))


def test_parts_of_it_can_lie_on_the_disk(made, tmp_path):
    folder = made["pivoted"]
    places = {"model.embed_tokens": "cpu", "lm_head": "cpu", "model.norm": "cpu"}
    places |= {"model.rotary_emb": "cpu", "model.layers": "disk"}
    settings = {"device_map": places, "offload_folder": str(tmp_path / "offload")}
    found = AutoModelForCausalLM.from_pretrained(folder / "x", **settings)
    whole = AutoModelForCausalLM.from_pretrained(folder / "x")
    assert torch.allclose(outputs(found), outputs(whole), atol=1e-6)


def test_what_a_recovery_changed_is_in_it(made, tmp_path):
    folder = made["pairs"]
    manifest = read_json(folder / "c" / MANIFEST)
    arrays = load_file(folder / "c" / FACTORS)
    path = "model.layers.1.self_attn.q_proj"
    arrays |= {f"{path}.update_left": torch.ones(32, 1), f"{path}.update_right": torch.ones(1, 32)}
    (tmp_path / "c").mkdir()
    save_file(arrays, tmp_path / "c" / FACTORS)
    changed = {"changed": {path: "update"}, "factors_sha256": sha256_file(tmp_path / "c" / FACTORS)}
    write_json(tmp_path / "c" / MANIFEST, manifest | changed)
    export_low_rank(folder / "weights", tmp_path / "c", "float32", tmp_path / "x")
    wanted, _ = load_compressed(folder / "weights", tmp_path / "c", "float32")
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "x")
    assert torch.allclose(outputs(found), outputs(wanted), atol=1e-4)
    assert numbers(found) == manifest["parameters"]["compressed"]


def test_another_auto_class_says_which_one_loads_it(made):
    with pytest.raises(LowrankError, match="holds a LlamaForCausalLM: load it with AutoModelForC"):
        AutoModel.from_pretrained(made["pairs"] / "x")


def test_equal_models_make_equal_files(made, tmp_path):
    folder = made["pivoted"]
    export_low_rank(folder / "weights", folder / "c", "float32", tmp_path / "x")
    for path in (folder / "x").iterdir():
        assert (tmp_path / "x" / path.name).read_bytes() == path.read_bytes()


def edit_json(name, change, honest=False):
    """Damage a file; if `honest`, the checksums say nothing of it."""

    def damage(folder):
        value = json.loads((folder / name).read_text())
        change(value)
        (folder / name).write_text(json.dumps(value))
        if not honest and name == "config.json":
            match_sums(folder, folder / name)

    return damage


def match_sums(folder, path):
    sums = json.loads((folder / "checksums.json").read_text())
    sums["files"][path.name] = sha256_file(path)
    (folder / "checksums.json").write_text(json.dumps(sums))


def edit_bytes(folder, change):
    path = sorted(folder.glob("*.safetensors"))[0]
    path.write_bytes(change(path.read_bytes()))


def edit_arrays(change, honest):
    """Damage arrays; if `honest`, the checksums say nothing of it."""

    def damage(folder):
        path = sorted(folder.glob("*.safetensors"))[0]
        arrays = load_file(path)
        change(arrays)
        arrays = {name: array.clone().contiguous() for name, array in arrays.items()}
        save_file(arrays, path, metadata={"format": "pt"})
        if not honest:
            match_sums(folder, path)

    return damage


QUERY = "model.layers.1.self_attn.q_proj"


def swap(arrays):
    ours, other = f"{QUERY}.rows", f"{QUERY.replace('q_proj', 'o_proj')}.rows"
    arrays[ours], arrays[other] = arrays[other], arrays[ours]


def set_nan(arrays):
    arrays[f"{QUERY}.rows"][0, 0] = float("nan")


def widen(arrays):
    arrays[f"{QUERY}.rows"] = torch.cat([arrays[f"{QUERY}.rows"]] * 2)


def shorten_a_norm(arrays):
    arrays["model.norm.weight"] = arrays["model.norm.weight"][:-1]


def disorder(arrays):
    arrays[f"{QUERY}.place"][0] = 999


DAMAGES = {
    "a file cut short": (lambda f: edit_bytes(f, lambda b: b[: len(b) // 2]), "is not the file"),
    "an empty file": (lambda f: edit_bytes(f, lambda b: b""), "is not the file"),
    "a missing file": (lambda f: sorted(f.glob("*.safetensors"))[0].unlink(), "lacks model.lowr"),
    "a missing index": (lambda f: next(f.glob("*.index.*")).unlink(), "lacks model.safetensors.i"),
    "one bit": (lambda f: edit_bytes(f, lambda b: b[:-1] + bytes([b[-1] ^ 1])), "is not the file"),
    "swapped factors": (edit_arrays(swap, True), "is not the file"),
    "a wrong shape": (edit_arrays(widen, True), "is not the file"),
    "a wrong shape, sums too": (edit_arrays(widen, False), r"rows has \[10, 32\].* says \[5, 32\]"),
    "another wrong shape": (edit_arrays(shorten_a_norm, False), "weights have other shapes"),
    "an array less": (
        edit_arrays(lambda arrays: arrays.pop("model.norm.weight"), False),
        "model.norm.weight is one of the missing_keys",
    ),
    "a factor less": (
        edit_arrays(lambda arrays: arrays.pop(f"{QUERY}.rows"), False),
        "rows has no shape, as it is missing",
    ),
    "an array more": (
        edit_arrays(lambda arrays: arrays.update(more=torch.ones(1)), False),
        "more is one of the unexpected_keys",
    ),
    "no number": (edit_arrays(set_nan, False), "rows is not finite"),
    "an infinite number": (
        edit_arrays(lambda arrays: arrays["model.norm.weight"][:1].fill_(-torch.inf), False),
        "model.norm.weight is not finite",
    ),
    "no order": (edit_arrays(disorder, False), "place is no order"),
    "no checksums": (lambda f: (f / "checksums.json").unlink(), "checksums.json does not exist"),
    "other checksums": (
        edit_json("checksums.json", lambda v: v["files"].update(dict.fromkeys(v["files"], "0"))),
        "is not the file that checksums.json was written for",
    ),
    # Any model of these sizes has the same shapes.
    "another size of heads": (
        edit_json(
            "config.json",
            lambda v: v.update(num_attention_heads=8, num_key_value_heads=4, head_dim=4),
            honest=True,
        ),
        "config.json is not the file",
    ),
    "a setting less": (
        edit_json("config.json", lambda v: v.pop("rope_parameters"), honest=True),
        "config.json is not the file",
    ),
    "checksums of nothing": (lambda f: (f / "checksums.json").write_text("[]"), "is not one of a"),
    "no JSON": (lambda f: (f / "checksums.json").write_text("{"), "not JSON.* copy it"),
    "another rank": (
        edit_json("config.json", lambda v: v["lowrank"]["modules"][QUERY].update(rank=6)),
        r"rows has \[5, 32\], config.json says \[6, 32\]",
    ),
    "a rank of no kind": (
        edit_json("config.json", lambda v: v["lowrank"]["modules"][QUERY].update(rank="5")),
        "is no module",
    ),
    "a module that is not there": (
        edit_json("config.json", lambda v: v["lowrank"]["modules"].pop(QUERY)),
        "q_proj.* is one of the (missing|unexpected)_keys",
    ),
    "a module of another place": (
        edit_json(
            "config.json",
            lambda v: v["lowrank"]["modules"].update(
                {"model.layers.9.x": v["lowrank"]["modules"].pop(QUERY)}
            ),
        ),
        "model.layers.9.x.rows has no shape|model.layers.9.x cannot be made",
    ),
    "no note": (edit_json("config.json", lambda v: v.pop("lowrank")), "of format lowrank-checkp"),
    "another format": (
        edit_json("config.json", lambda v: v["lowrank"].update(format="lowrank-checkpoint-9")),
        "of format lowrank-checkpoint-1, which this version of lowrank reads: .* update lowrank",
    ),
    "a class that is none": (
        edit_json("config.json", lambda v: v["lowrank"].update({"class": "os"})),
        "transformers has no 'os'",
    ),
    "a model that is none": (
        edit_json("config.json", lambda v: v.update(base_model_type="nosuch")),
        "transformers knows no 'nosuch'",
    ),
    "more layers": (
        edit_json("config.json", lambda v: v.update(num_hidden_layers=5)),
        "model.layers.4.* is one of the missing_keys",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_directory_is_one_line(made, tmp_path, damage):
    whole = AutoModelForCausalLM.from_pretrained(made["pivoted"] / "x")
    in_parts = damage in ("a missing file", "a missing index")
    whole.save_pretrained(tmp_path / "x", max_shard_size="100KB" if in_parts else "1GB")
    change, said = DAMAGES[damage]
    change(tmp_path / "x")
    with pytest.raises(LowrankError, match=said) as caught:
        AutoModelForCausalLM.from_pretrained(tmp_path / "x")
    assert "\n" not in str(caught.value)


def run_python(code, *arguments, **variables):
    environment = os.environ | {"PYTHONPATH": str(Path(lowrank.__file__).parents[1])} | variables
    return subprocess.run(
        [sys.executable, "-B", "-c", code, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
    )


WITHOUT = """
import sys
from transformers import AutoModelForCausalLM, LlamaForCausalLM
for chosen in (AutoModelForCausalLM, LlamaForCausalLM):
    try:
        chosen.from_pretrained(sys.argv[1])
    except (ValueError, OSError) as error:
        print(error)
"""


def test_without_the_import_it_is_no_model(made):
    done = run_python(WITHOUT, made["pairs"] / "x")
    lines = done.stdout.splitlines()
    assert "model type `lowrank (import lowrank first)`" in lines[0], done.stderr
    assert lines[-1].startswith("Error no file named model.safetensors")


LIGHT = """
import sys, lowrank
heavy = {"torch", "transformers", "numpy", "yaml", "snakemake", "pandas"} & set(sys.modules)
assert not heavy, heavy
from transformers import AutoConfig
config = AutoConfig.from_pretrained(sys.argv[1])
print(type(config).__name__)
from transformers import AutoModelForCausalLM
print(type(AutoModelForCausalLM.from_pretrained(sys.argv[1])).__name__)
"""
LATE = """
import sys
from transformers import AutoModelForCausalLM
import lowrank
print(type(AutoModelForCausalLM.from_pretrained(sys.argv[1])).__name__)
"""


@pytest.mark.parametrize("code", [LIGHT, LATE], ids=["before", "after"])
def test_the_import_is_light_and_may_come_before_or_after(made, code):
    done = run_python(code, made["core"] / "x")
    assert done.stdout.splitlines()[-1:] == ["LowRankLlamaForCausalLM"], done.stderr


MEMORY = """
import resource, sys, torch, lowrank
from transformers import AutoModelForCausalLM
AutoModelForCausalLM.from_pretrained(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model = AutoModelForCausalLM.from_pretrained(sys.argv[2])
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert all(not parameter.is_meta for parameter in model.parameters())
print((after - before) * 1024)
"""


def test_no_dense_copy_is_in_memory(made, tmp_path):
    """A model whose dense form has 252 MB: what loading adds is a small part of that."""
    small = AutoModelForCausalLM.from_pretrained(made["pairs"] / "x")
    fields = small.config.to_dict() | {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "head_dim": 192,
    }
    entry = {"form": "pairs", "rank": 2, "bias": False}
    shapes = {
        "mlp.gate_proj": [3072, 768],
        "mlp.up_proj": [3072, 768],
        "mlp.down_proj": [768, 3072],
    }
    shapes |= {f"self_attn.{name}_proj": [768, 768] for name in "qo"}
    modules = {
        f"model.layers.{layer}.{name}": entry | {"shape": shape}
        for layer in range(8)
        for name, shape in shapes.items()
    }
    fields |= {"num_hidden_layers": 8, "lowrank": fields["lowrank"] | {"modules": modules}}
    type(small)(type(small.config)(**fields)).save_pretrained(tmp_path / "x")
    done = run_python(MEMORY, made["pairs"] / "x", tmp_path / "x")
    assert int(done.stdout) < 80e6, done.stderr


TASK = """
task: counting
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{file}"}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""


def test_a_command_line_of_lm_eval_scores_it(made, tmp_path):
    rows = [
        {"question": tiny.words(n, 4), "choices": ["a", " the", " b c"], "answer": n % 3}
        for n in range(12)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "counting.yaml").write_text(TASK.format(file=tmp_path / "rows.jsonl"))
    command = [sys.executable, "-B", "-m", "lowrank", "lm_eval", "--model", "hf", "--model_args"]
    command += [f"pretrained={made['pivoted'] / 'x'},dtype=float32", "--tasks", "counting"]
    command += ["--include_path", str(tmp_path), "--device", "cpu", "--output_path", str(tmp_path)]
    variables = {"PYTHONPATH": str(Path(lowrank.__file__).parents[1]), "HF_HUB_OFFLINE": "1"}
    variables |= {"HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.rglob("results_*.json")
    found = read_json(path)["results"]["counting"]["acc,none"]
    model, _ = load_compressed(made["pivoted"] / "weights", made["pivoted"] / "c", "float32")
    tokenizer, right = AutoTokenizer.from_pretrained(made["pivoted"] / "x"), 0
    for row in rows:
        scores = []
        for choice in row["choices"]:
            context, whole = (
                tokenizer(t).input_ids
                for t in (row["question"], row["question"] + " " + choice.strip())
            )
            with torch.no_grad():
                log = model(torch.tensor([whole])).logits[0].log_softmax(-1)
            own = range(len(context), len(whole))
            scores.append(sum(float(log[at - 1, whole[at]]) for at in own))
        right += int(np.argmax(scores)) == row["answer"]
    assert found == pytest.approx(right / 12)
