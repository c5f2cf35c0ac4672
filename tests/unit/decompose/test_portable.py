"""Exported directories read the same in transformers 5, in this process, and 4, in another."""

import pytest
import tiny
import tiny_bert
import torch
import transformers_4
from lowrank.assets.model_classes import auto_class
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, write_json
from lowrank.decompose.compressed import compress
from lowrank.decompose.export import export_dense
from lowrank.decompose.layer_factors import factorize_layer
from lowrank.decompose.loading import load_compressed, load_tokenizer
from lowrank.decompose.portable import CLEANS_BPE, portable_config, portable_tokenizer
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer, LlamaTokenizer

TEXT = "the a cab, and the 2 of them ."

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 128,
}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 2e4,
    "factor": 3.0,
    "original_max_position_embeddings": 128,
    "short_factor": [1.0, 1.5, 2.0, 3.0],
    "long_factor": [2.0, 3.0, 4.0, 5.0],
}
YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0}
ROTARY = {
    "default": {"rope_type": "default", "rope_theta": 100000.0},
    "linear": {"rope_type": "linear", "rope_theta": 3e4, "factor": 2.0},
    "dynamic": {"rope_type": "dynamic", "rope_theta": 3e4, "factor": 2.0},
    "llama3": LLAMA3,
    "yarn": YARN | {"original_max_position_embeddings": 128},
    "yarn-of-its-length": YARN,
    "yarn-with-settings": YARN
    | {
        "factor": 2.0,
        "original_max_position_embeddings": 64,
        "mscale": 0.7,
        "mscale_all_dim": 1.3,
        "beta_fast": 16.0,
    },
    "longrope": LONG,
    "longrope-of-its-lengths": LONG | {"factor": 4.0},
}


def llama_tokenizer():
    vocabulary = {"<unk>": 2, "<s>": 0, "</s>": 1, "▁": 3, "▁a": 4, "▁ab": 5, "t": 6, "a": 7}
    merges = [("▁", "a"), ("▁a", "b")]
    vocabulary |= {letter: 8 + index for index, letter in enumerate("bcdefghijklmnopqrsuvw")}
    return LlamaTokenizer(vocab=vocabulary, merges=merges, add_bos_token=True)


def special_tokenizer():
    """It has a token of its own, a template, and a space before each text.

    Texts lose their beginning. It asks to clean spaces up, which version 5 does not do here.
    """
    made = tiny.tokenizer()
    made.truncation_side = "left"
    made.init_kwargs["clean_up_tokenization_spaces"] = True
    made.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.add_special_tokens({"additional_special_tokens": ["<s>"]})
    made.chat_template = "{{ messages[0].content }}"
    return made


def exported(folder, tokenizer=None, config=None):
    """Save a model by a function, compress layer 2 of it and export that; return the directory."""
    weights = folder / "weights"
    if config is None:
        tiny.save_model(weights)
    elif config["model_type"] == "bert":
        tiny_bert.save_model(weights, config)
    else:
        tiny.save_model(weights, **config)
    if tokenizer is not None:
        tokenizer.save_pretrained(weights)
    architecture = Architecture.from_config(read_json(weights / "config.json"))
    write_json(folder / "manifest.json", {"files": {}, "source": "test"})
    factors = folder / "layer-2.safetensors"
    factorize_layer(weights, architecture, 2, 2, "svd", factors)
    made = Decomposition.make(architecture, [2], rank=2, method="svd")
    compress(architecture, "m", folder / "manifest.json", made, {2: factors}, folder / "c")
    export_dense(weights, folder / "c", "float32", folder / "exported")
    return folder / "exported"


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    """From a name to an exported directory."""
    folder = tmp_path_factory.mktemp("exports")
    made = {
        name: exported(folder / name, config={"model_type": "llama", "rope_parameters": rotary})
        for name, rotary in ROTARY.items()
    }
    tied = {"model_type": "mistral", "rope_parameters": LLAMA3, "tie_word_embeddings": True}
    made["mistral, tied"] = exported(folder / "mistral", config=tied)
    made["llama's tokenizer"] = exported(folder / "llama", llama_tokenizer())
    made["special tokens"] = exported(folder / "special", special_tokenizer())
    made["bert"] = exported(folder / "bert", config=tiny_bert.ENCODER)
    made["bert, answering"] = exported(folder / "answering", config=tiny_bert.ANSWERING)
    return made


def expected(directory):
    """What transformers 5 makes of an exported directory, and of the compressed model itself."""
    config = read_json(directory / "config.json")
    plain = auto_class(config).from_pretrained(directory).eval()
    model, _ = load_compressed(directory.parent / "weights", directory.parent / "c", "float32")
    tokenizer, original = (
        AutoTokenizer.from_pretrained(directory),
        load_tokenizer(directory.parent / "weights"),
    )
    coded = tokenizer(TEXT, return_tensors="pt")
    assert coded["input_ids"].equal(original(TEXT, return_tensors="pt")["input_ids"])
    with torch.no_grad():
        of_export, of_compressed = plain(**coded)[0], model(**coded)[0]
    assert torch.allclose(of_export, of_compressed, atol=2e-4)
    return {
        "dtype": "torch.float32",
        "keys": sorted(coded),
        "sides": [original.padding_side, original.truncation_side],
        "tokens": coded["input_ids"][0].tolist(),
        "text": original.decode(coded["input_ids"][0], skip_special_tokens=True),
        "output": of_export.flatten().tolist(),
    }


def test_both_versions_read_the_same_numbers_and_tokens(directories):
    try:
        with transformers_4.installed() as installation:
            read = transformers_4.read(installation, [(own, TEXT) for own in directories.values()])
    except RuntimeError as error:
        pytest.skip(f"pip cannot install transformers 4 here: {error}")
    for (name, directory), found in zip(directories.items(), read, strict=True):
        wanted = expected(directory)
        output = wanted.pop("output")
        assert found.pop("output") == pytest.approx(output, rel=1e-5, abs=1e-5), name
        assert found == wanted, name


def test_rotary_settings_are_there_in_both_spellings(directories):
    config = read_json(directories["llama3"] / "config.json")
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 5e5
    scaling = dict(LLAMA3)
    scaling.pop("rope_theta")
    assert config["rope_scaling"] == scaling
    assert read_json(directories["default"] / "config.json")["rope_scaling"] is None
    assert config["dtype"] == config["torch_dtype"] == "float32"


def test_a_model_with_two_kinds_of_layers_has_a_base_for_each():
    rotary = {
        "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    made = portable_config({"rope_parameters": rotary})
    assert made["rope_theta"] == 1e6 and made["rope_local_base_freq"] == 1e4
    assert made["rope_scaling"] == {"rope_type": "linear", "factor": 8.0}


@pytest.mark.parametrize(("kept", "first"), [([0, 1, 2, 3], 2), ([1, 2, 3], 1), ([2], 0), ([0], 2)])
def test_older_words_say_which_layers_are_left_with_a_window(kept, first):
    """Tools that lack `layer_types` count them: those from the first with a window on."""
    types = ["full_attention"] * 2 + ["sliding_attention"] * 2
    own = {"layer_types": [types[layer] for layer in kept], "max_window_layers": 2}
    made = portable_config(own)
    counted = [types[0 if n < made["max_window_layers"] else 3] for n in range(len(kept))]
    assert made["max_window_layers"] == first and counted == own["layer_types"]


def test_what_transformers_4_has_no_words_for_is_not_exported():
    scaled = {"rope_type": "linear", "rope_theta": 1e4, "factor": 8.0}
    rotary = {"full_attention": scaled, "sliding_attention": scaled}
    with pytest.raises(LowrankError, match="sliding_attention is scaled: .* the low-rank form"):
        portable_config({"rope_parameters": rotary})


@pytest.mark.parametrize(
    ("kind", "forced", "cleans"),
    [("BPE", False, False), ("BPE", True, True), ("WordPiece", False, True)],
)
def test_spaces_are_cleaned_up_where_version_5_does(kind, forced, cleans):
    settings = {"clean_up_tokenization_spaces": True, CLEANS_BPE: forced}
    made = portable_tokenizer(settings, {"model": {"type": kind}}, {})
    assert made["clean_up_tokenization_spaces"] is cleans


def test_a_tokenizer_keeps_the_sides_of_its_own_class(directories):
    """Llama's pads before a text: a batch that is padded behind it writes other texts."""
    own = AutoTokenizer.from_pretrained(directories["llama's tokenizer"])
    assert (own.padding_side, own.truncation_side) == ("left", "right")


def test_a_model_without_rotary_settings_gets_none(directories):
    config = read_json(directories["bert"] / "config.json")
    assert not [key for key in config if key.startswith("rope")]


def test_a_tokenizer_has_a_class_that_both_versions_know(directories):
    for directory in directories.values():
        settings = read_json(directory / "tokenizer_config.json")
        assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
        assert not {"backend", "is_local", "local_files_only"} & set(settings)


def test_special_tokens_are_named_as_both_versions_name_them():
    made = portable_tokenizer({"extra_special_tokens": ["<x>"]}, {}, {})
    assert made["additional_special_tokens"] == ["<x>"]
    assert "extra_special_tokens" not in made
