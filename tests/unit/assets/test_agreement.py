"""A directory is the model that is declared: by every value, every size and every tensor."""

import json

import pytest
import tiny
import tiny_bert
import torch
from lowrank.assets.agreement import require_agreement
from lowrank.assets.model_classes import model_from_config
from lowrank.assets.weights import read_parameters, read_weight
from lowrank.base.errors import LowrankError
from safetensors.torch import load_file, save_file


def saved(folder, config):
    torch.manual_seed(0)
    model_from_config(config).save_pretrained(folder)
    return folder


def rewrite(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def without(config, *keys):
    return {key: value for key, value in config.items() if key not in keys}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tie_word_embeddings": True}, "tie_word_embeddings=True"),
        ({"attention_bias": True}, "attention_bias=True"),
        ({"mlp_bias": True}, "mlp_bias=True"),
        ({"num_key_value_heads": 1}, "num_key_value_heads=1"),
        ({"head_dim": 16}, "head_dim=16"),
    ],
)
def test_what_changes_sizes_must_be_declared(tmp_path, changes, said):
    """Left out, it would make every number of parameters wrong."""
    declared = without(tiny.ARCHITECTURE, *changes)
    folder = saved(tmp_path / "m", tiny.ARCHITECTURE | changes)
    with pytest.raises(LowrankError, match="declare the same under `architecture`") as caught:
        require_agreement("m", declared, folder)
    assert said in str(caught.value) and "config/models/m.yaml" in str(caught.value)
    require_agreement("m", declared | changes, folder)


PASTED = tiny.ARCHITECTURE | {
    "architectures": ["LlamaForCausalLM"],
    "rope_theta": 500000.0,
    "rope_scaling": None,
    "torch_dtype": "bfloat16",
    "hidden_act": "silu",
    "rms_norm_eps": 1e-05,
    "attention_bias": False,
    "transformers_version": "4.40.0",
    "pad_token_id": None,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


@pytest.mark.parametrize(
    "config",
    [
        PASTED,
        PASTED | {"rope_scaling": {"type": "linear", "factor": 2.0}},
        PASTED | {"rope_scaling": LLAMA3},
        PASTED | {"num_key_value_heads": None, "head_dim": None},
        without(PASTED, "num_key_value_heads")
        | {"model_type": "mistral", "num_attention_heads": 8, "sliding_window": None},
        tiny_bert.ENCODER
        | {"pad_token_id": 0, "hidden_act": "gelu", "position_embedding_type": "absolute"},
    ],
    ids=["plain", "linear", "llama3", "nulls", "mistral", "bert"],
)
def test_a_whole_pasted_configuration_is_no_conflict(tmp_path, config):
    """Defaults left out, keys renamed and numbers of another type on either side."""
    folder = saved(tmp_path / "m", config)
    require_agreement("m", config, folder)
    # As other versions of transformers, and people, write it.
    (folder / "config.json").write_text(json.dumps(config))
    require_agreement("m", config, folder)
    sizes = ("num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size")
    sizes += ("model_type", "num_attention_heads", "num_key_value_heads", "architectures")
    sizes += ("max_position_embeddings", "type_vocab_size")
    require_agreement("m", {key: config[key] for key in sizes if key in config}, folder)


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"rope_theta": 10000.0}, "has no rope_theta, declared is 10000.0"),
        ({"rope_scaling": LLAMA3 | {"factor": 4.0}}, "rope_scaling"),
        ({"rms_norm_eps": 1e-06}, "rms_norm_eps=1e-05, declared is 1e-06"),
        ({"attention_bias": True}, "attention_bias=False, declared is True"),
        ({"num_hidden_layers": 5}, "num_hidden_layers=4, declared is 5"),
        ({"model_type": "mistral"}, "model_type='llama', declared is 'mistral'"),
        ({"no_such_key": 1}, "has no no_such_key, declared is 1"),
    ],
)
def test_another_value_is_a_conflict(tmp_path, declared, said):
    folder = saved(tmp_path / "m", PASTED)
    with pytest.raises(LowrankError, match=said):
        require_agreement("m", PASTED | declared, folder)


GEMMA = tiny.ARCHITECTURE | {"model_type": "gemma2", "head_dim": 16}
del GEMMA["tie_word_embeddings"]  # it is on where nothing is said


def test_weights_are_those_that_config_json_describes(tmp_path):
    folder = saved(tmp_path / "m", tiny.ARCHITECTURE)
    path = folder / "model.safetensors"
    tensors = load_file(path)

    def refuses(said, **changes):
        made = {name: own for name, own in (tensors | changes).items() if own is not None}
        save_file(made, path)
        with pytest.raises(LowrankError, match=said):
            require_agreement("m", tiny.ARCHITECTURE, folder)

    query = "model.layers.1.self_attn.q_proj"
    refuses(rf"hold {query}.bias", **{f"{query}.bias": torch.zeros(32)})
    refuses(r"hold model.layers.4", **{"model.layers.4.mlp.up_proj.weight": torch.zeros(48, 32)})
    refuses(rf"lack {query}.weight", **{f"{query}.weight": None})
    refuses("lack lm_head.weight", **{"lm_head.weight": None})
    refuses("hold lm_head.bias", **{"lm_head.bias": torch.zeros(260)})
    refuses("hold model.embed_norm.weight", **{"model.embed_norm.weight": torch.zeros(32)})
    refuses(rf"{query}.weight has shape \(8, 32\)", **{f"{query}.weight": torch.zeros(8, 32)})
    compiled = {f"_orig_mod.{name}": own for name, own in tensors.items()}
    refuses("lack model.embed_tokens.weight", **dict.fromkeys(tensors), **compiled)
    # What transformers leaves aside is in many published files.
    frequencies = {"model.layers.1.self_attn.rotary_emb.inv_freq": torch.zeros(4)}
    save_file(tensors | frequencies, path)
    require_agreement("m", tiny.ARCHITECTURE, folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    with pytest.raises(LowrankError, match="delete the one that is old"):
        require_agreement("m", tiny.ARCHITECTURE, folder)
    (folder / "model.safetensors.index.json").unlink()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(LowrankError, match="model.safetensors cannot be read"):
        require_agreement("m", tiny.ARCHITECTURE, folder)


@pytest.mark.parametrize("config", [tiny.ARCHITECTURE | {"tie_word_embeddings": True}, GEMMA])
def test_a_tied_head_is_no_other_than_the_embedding(tmp_path, config):
    """Transformers 5 loads the other head that is there, and 4 does not."""
    folder = saved(tmp_path / "m", config)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    head = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors | {"lm_head.weight": head}, path)
    require_agreement("m", config, folder)
    head[3, 5] += 0.25
    save_file(tensors | {"lm_head.weight": head}, path)
    with pytest.raises(LowrankError, match="ties lm_head.weight to model.embed_tokens.weight"):
        require_agreement("m", config, folder)


def test_shards_are_read_together(tmp_path):
    torch.manual_seed(0)
    model_from_config(tiny.ARCHITECTURE).save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    require_agreement("m", tiny.ARCHITECTURE, tmp_path)


def test_a_pooler_is_counted_where_the_weights_have_one(tmp_path):
    folder = saved(tmp_path / "m", tiny_bert.ENCODER)
    require_agreement("m", tiny_bert.ENCODER, folder)
    bare = tiny_bert.ENCODER | {"add_pooling_layer": False}
    with pytest.raises(LowrankError, match=r"hold pooler\.dense"):
        require_agreement("m", bare, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors = {name: own for name, own in tensors.items() if not name.startswith("pooler")}
    save_file(tensors, folder / "model.safetensors")
    require_agreement("m", bare, folder)
    with pytest.raises(LowrankError, match="declare `add_pooling_layer: false`"):
        require_agreement("m", tiny_bert.ENCODER, folder)
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): t for name, t in tensors.items()}
    old = {f"bert.{name}": own for name, own in old.items()}
    save_file(old | {"cls.predictions.bias": torch.zeros(9)}, folder / "model.safetensors")
    require_agreement("m", bare, folder)
    # What agrees can be read, by the names of the model that is loaded.
    query = "encoder.layer.1.attention.self.query.weight"
    assert (read_weight(folder, query, (32, 32)) == tensors[query].numpy()).all()
    norm = "encoder.layer.1.output.LayerNorm.weight"
    read_parameters(folder, {norm: (found := torch.zeros(32))})
    assert found.equal(tensors[norm])
    with pytest.raises(LowrankError, match=r"model.safetensors holds no tensor x.y$"):
        read_weight(folder, "x.y", (32, 32))
    # Positions that are relative, which transformers 5 does not read, and one pooler too many.
    for key in ("encoder.layer.0.attention.self.distance_embedding", "pooler.dense"):
        save_file(old | {f"bert.{key}.weight": torch.zeros(32, 32)}, folder / "model.safetensors")
        with pytest.raises(LowrankError, match=f"hold bert.{key}.weight"):
            require_agreement("m", bare, folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(num_attention_heads="4"), "config.json: num_attention_heads: '4'"),
        (lambda c: c.pop("hidden_size"), "config.json: the architecture lacks hidden_size"),
        (lambda c: c.update(rms_norm_eps="small"), "config.json: .*rms_norm_eps"),
        (lambda c: c.update(hidden_act="foo"), r"config.json makes no model \(KeyError: 'foo'\)"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_one_line(tmp_path, change, said):
    folder = saved(tmp_path / "m", tiny.ARCHITECTURE)
    rewrite(folder / "config.json", change)
    with pytest.raises(LowrankError, match=said) as caught:
        require_agreement("m", tiny.ARCHITECTURE, folder)
    assert "\n" not in str(caught.value)
    (folder / "config.json").write_text("[]")
    with pytest.raises(LowrankError, match="is no configuration"):
        require_agreement("m", tiny.ARCHITECTURE, folder)
