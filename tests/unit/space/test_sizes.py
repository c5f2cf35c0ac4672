"""Sizes and switches of a configuration: read as they are meant, or one line says what is wrong."""

import pytest
from lowrank.base.errors import LowrankError
from lowrank.space.architecture import Architecture
from lowrank.tables.meta_device import parameter_counts
from tiny import ARCHITECTURE
from tiny_bert import ANSWERING, BARE, ENCODER


def without(config, *keys):
    return {key: value for key, value in config.items() if key not in keys}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_attention_heads": "4"}, "num_attention_heads: '4' is not a whole number"),
        ({"num_hidden_layers": None}, "num_hidden_layers: None is not a whole number"),
        ({"num_attention_heads": 0}, "num_attention_heads: 0 is not a whole number of at least 1"),
        ({"hidden_size": 32.0}, "hidden_size: 32.0 is not a whole number"),
        ({"vocab_size": True}, "vocab_size: True is not a whole number"),
        ({"intermediate_size": [48]}, r"intermediate_size: \[48\] is not a whole number"),
        ({"num_key_value_heads": "2"}, "num_key_value_heads: '2' is not a whole number"),
        ({"head_dim": -8}, "head_dim: -8 is not a whole number"),
        ({"tie_word_embeddings": "false"}, "tie_word_embeddings: 'false' is neither true nor"),
        ({"attention_bias": 1}, "attention_bias: 1 is neither true nor false"),
        ({"num_attention_heads": 5}, "num_attention_heads: 5 does not divide hidden_size, 32"),
        ({"num_key_value_heads": 3}, "num_key_value_heads: 3 does not divide num_attention_heads"),
        ({"model_type": ["llama"]}, r"model_type \['llama'\] is not supported"),
        ({"num_hidden_layers": 10**30}, "num_hidden_layers: no model has more than 10,000"),
        ({"hidden_size": 10**30}, "hidden_size: no model has more than 100,000,000"),
        ({"max_position_embeddings": 0}, "max_position_embeddings: 0 is not a whole number"),
        ({"architectures": "LlamaForCausalLM"}, "architectures: 'LlamaForCausalLM' is no list"),
        ({"architectures": {"a": 1}}, "architectures: {'a': 1} is no list of names"),
        ({"model_type": None}, "model_type None is not supported"),
    ],
)
def test_what_is_no_size_or_switch_is_one_line(changes, said):
    with pytest.raises(LowrankError, match=said) as caught:
        Architecture.from_config(ARCHITECTURE | changes)
    assert "\n" not in str(caught.value)


def test_missing_sizes_are_named_all_at_once():
    with pytest.raises(LowrankError, match="lacks hidden_size, vocab_size"):
        Architecture.from_config(without(ARCHITECTURE, "hidden_size", "vocab_size"))


@pytest.mark.parametrize(
    "config",
    [
        without(ARCHITECTURE, "num_key_value_heads"),
        ARCHITECTURE | {"num_key_value_heads": None, "head_dim": None},
        ARCHITECTURE | {"tie_word_embeddings": None},
        ARCHITECTURE | {"head_dim": 16, "hidden_size": 36},
        # Mistral's own default is 8 heads of keys, whatever the queries have.
        without(ARCHITECTURE, "num_key_value_heads")
        | {"model_type": "mistral", "num_attention_heads": 16},
        ENCODER,
        BARE,
        ANSWERING,
    ],
)
def test_what_is_left_out_is_counted_as_transformers_reads_it(config):
    assert (
        Architecture.from_config(config).parameters()
        == parameter_counts(
            without(config, *[key for key, value in config.items() if value is None])
        )[""]
    )
