"""Every family against the real class of transformers: counts, shapes, biases, defaults."""

import math

import numpy as np
import pytest
import tiny_families
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml
from lowrank.decompose.channels import kept_places
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from lowrank.space.families.registry import FAMILIES
from lowrank.space.rank_rule import ChannelShare
from lowrank.tables.meta_device import parameter_counts
from tiny_families import DECODERS, ENCODERS, config_of
from transformers import AutoConfig, MistralConfig

CONFIGS = {name: config_of(name) for name in (*DECODERS, *ENCODERS)}
CONFIGS |= {
    "qwen3 biased": config_of("qwen3", attention_bias=True),
    "gemma2 untied": config_of("gemma2", tie_word_embeddings=False),
    "phi3 tied": config_of("phi3", tie_word_embeddings=True),
    "mistral says biased": config_of("mistral", attention_bias=True),
    "qwen2 one head": config_of("qwen2", num_key_value_heads=1),
    "roberta answering": config_of("roberta", architectures=["RobertaForQuestionAnswering"]),
    "roberta bare": config_of("roberta", add_pooling_layer=False),
}


def test_every_family_is_tried():
    assert {*DECODERS, *ENCODERS} == {*FAMILIES}


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_those_of_the_real_model(name):
    architecture, model = Architecture.from_config(CONFIGS[name]), tiny_families.made(CONFIGS[name])
    counts = {path: parameter.numel() for path, parameter in model.named_parameters()}
    assert architecture.parameters() == sum(counts.values())
    prefix = f"{architecture.family.layer_path}.1."
    layer = sum(count for path, count in counts.items() if path.startswith(prefix))
    assert architecture.layer_parameters() == layer
    for tensor in architecture.tensors:
        module = model.get_submodule(architecture.module_path(1, tensor))
        assert tuple(module.weight.shape) == architecture.shape(tensor)
        assert (module.bias is not None) == architecture.has_bias(tensor)
        assert math.prod(architecture.shape(tensor)) == module.weight.numel()


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_saved_and_loaded_has_the_same_sizes(name, tmp_path):
    """`save_pretrained` leaves out what is a default of the class."""
    architecture = Architecture.from_config(CONFIGS[name])
    tiny_families.made(CONFIGS[name]).save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path).to_dict()
    if "add_pooling_layer" in CONFIGS[name]:  # which transformers does not keep
        loaded["add_pooling_layer"] = CONFIGS[name]["add_pooling_layer"]
    assert Architecture.from_config(loaded).parameters() == architecture.parameters()


@pytest.mark.parametrize("model_type", FAMILIES)
def test_what_is_left_out_means_what_it_means_to_transformers(model_type):
    sizes = {"hidden_size": 256, "num_attention_heads": 32}
    theirs = AutoConfig.for_model(model_type, **sizes)
    config = {key: getattr(theirs, key) for key in ("intermediate_size", "vocab_size")}
    config |= {key: getattr(theirs, key) for key in FAMILIES[model_type].sizes}
    config |= {"model_type": model_type, **sizes, "num_hidden_layers": 4}
    config |= {"architectures": CONFIGS[model_type].get("architectures")}
    ours = Architecture.from_config(config)
    assert ours.key_value_heads == (getattr(theirs, "num_key_value_heads", None) or 32)
    size = getattr(theirs, "head_dim", None) or 256 // 32
    assert ours.head_size == size
    if model_type not in ENCODERS:  # whose head, if any, is not of their embeddings
        assert bool(ours.config.get("tie_word_embeddings")) == theirs.tie_word_embeddings


def test_families_of_the_same_tensors_take_part_in_the_same_studies():
    names = {model_type: family.name for model_type, family in FAMILIES.items()}
    apart = {"bert": "bert", "roberta": "bert", "phi3": "phi3"}
    assert names == {model_type: apart.get(model_type, "llama") for model_type in FAMILIES}
    for first in FAMILIES.values():
        for other in FAMILIES.values():
            if first.name == other.name:
                assert (first.shapes, first.groups) == (other.shapes, other.groups)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "gemma3"}, "'gemma3' is not supported; known: bert, gemma2, gemma3_text"),
        ({"model_type": "qwen3_moe"}, "'qwen3_moe' is not supported; known: bert"),
        (config_of("gemma3_text", use_bidirectional_attention=True), "sees tokens to come"),
        (config_of("roberta", is_decoder=True), "a roberta model with is_decoder=True"),
        (config_of("roberta", architectures=["RobertaForMaskedLM"]), "known: RobertaModel"),
        (config_of("qwen2", architectures=["Qwen2ForTokenClassification"]), "known: …ForCausalLM"),
    ],
)
def test_what_is_not_supported_is_said_with_what_is(config, message):
    with pytest.raises(LowrankError, match=message):
        Architecture.from_config(config)


def test_fused_tensors_have_their_parts_in_blocks():
    architecture = Architecture.from_config(config_of("phi3"))
    assert architecture.blocks("qkv") == (32, 16, 16)
    assert architecture.blocks("gu") == (48, 48)
    assert architecture.blocks("d") == (32,)


def test_a_channel_goes_from_each_block_of_a_fused_tensor():
    architecture = Architecture.from_config(config_of("phi3", intermediate_size=3))
    kept = {
        tensor: (axis, places.tolist())
        for tensor, axis, places in kept_places(architecture, "mlp", np.array([0, 2]))
    }
    assert kept == {"gu": (0, [0, 2, 3, 5]), "d": (1, [0, 2])}


@pytest.mark.parametrize("method", ["wanda_sp", "taylor"])
def test_heads_of_a_fused_tensor_cannot_be_left_out(method):
    architecture = Architecture.from_config(config_of("phi3"))
    with pytest.raises(LowrankError, match=r"fused tensors of phi3 .*do not: wanda$"):
        Decomposition.make(
            architecture, [1], rank=ChannelShare.make(0.5), method=method, calibration="prose"
        )


PUBLISHED = {
    "gemma-2-2b": 2_614_341_888,
    "gemma-3-1b-it": 999_885_952,
    "llama-3.2-1b": 1_235_814_400,
    "mistral-7b": 7_241_732_096,
    "phi-3-mini-4k-instruct": 3_821_079_552,
    "qwen2.5-0.5b": 494_032_768,
    "qwen3-0.6b": 596_049_920,
    "roberta-base-squad2": 124_056_578,
}
"""Parameters of models of `config/models/`; tied embeddings count once."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name):
    config = read_yaml(f"config/models/{name}.yaml")["architecture"]
    assert Architecture.from_config(config).parameters() == PUBLISHED[name]
    assert parameter_counts(config)[""] == PUBLISHED[name]


def test_positions_that_are_reserved_hold_no_token():
    config = config_of("roberta", max_position_embeddings=514, pad_token_id=1)
    assert Architecture.from_config(config).positions == 512
    del config["pad_token_id"]
    assert Architecture.from_config(config).positions == 512
    assert Architecture.from_config(config_of("bert")).positions == 64
    assert Architecture.from_config(MistralConfig().to_dict()).positions == 131072


@pytest.mark.parametrize("token", [None, -1, "1", True])
def test_positions_begin_behind_a_token(token):
    with pytest.raises(LowrankError, match=f"^pad_token_id: {token!r} is no token"):
        Architecture.from_config(config_of("roberta", pad_token_id=token))
