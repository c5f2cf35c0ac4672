"""BERT: shapes against transformers' own modules, compressed models against NumPy's algebra."""

import numpy as np
import pytest
import tiny_bert
import torch
from lowrank.assets.models import fetch_model
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, read_yaml, write_json
from lowrank.decompose.compressed import compress
from lowrank.decompose.export import export_dense
from lowrank.decompose.layer_factors import factorize_layer
from lowrank.decompose.linear import LowRankLinear
from lowrank.decompose.loading import load_base, load_compressed
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from lowrank.tables.meta_device import parameter_counts
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForQuestionAnswering,
    BertConfig,
    BertForQuestionAnswering,
    BertModel,
)

KINDS = {
    "encoder": tiny_bert.ENCODER,
    "without a pooler": tiny_bert.BARE,
    "question answering": tiny_bert.ANSWERING,
}
CONFIGS = KINDS | {
    name: read_yaml(f"config/models/{name}.yaml")["architecture"]
    for name in ("minilm-l6", "bert-base-squad")
}


def reference(config):
    """The class that a user of transformers would take, on the meta device."""
    skipped = ("model_type", "architectures", "add_pooling_layer")
    made = BertConfig(**{key: value for key, value in config.items() if key not in skipped})
    with torch.device("meta"):
        if config["architectures"] == ["BertForQuestionAnswering"]:
            return BertForQuestionAnswering(made)
        return BertModel(made, add_pooling_layer=config.get("add_pooling_layer", True))


@pytest.mark.parametrize("name", CONFIGS)
def test_closed_form_equals_the_modules(name):
    config = CONFIGS[name]
    architecture, model = Architecture.from_config(config), reference(config)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert architecture.parameters() == total == parameter_counts(config)[""]
    layers = model.get_submodule(architecture.family.layer_path)
    assert len(layers) == architecture.layers
    one = sum(parameter.numel() for parameter in layers[1].parameters())
    assert architecture.layer_parameters() == one
    for layer in (1, architecture.layers):
        for tensor in architecture.tensors:
            module = model.get_submodule(architecture.module_path(layer, tensor))
            assert isinstance(module, torch.nn.Linear) and module.bias is not None
            assert tuple(module.weight.shape) == architecture.shape(tensor)


def test_every_linear_module_of_a_layer_is_decomposable():
    architecture = Architecture.from_config(tiny_bert.ENCODER)
    layer = reference(tiny_bert.ENCODER).encoder.layer[0]
    linear = {name for name, module in layer.named_modules() if type(module) is torch.nn.Linear}
    assert linear == set(architecture.family.tensors.values())
    assert architecture.family.symbols.keys() == architecture.family.tensors.keys()


def test_published_sizes():
    sizes = {name: Architecture.from_config(CONFIGS[name]).parameters() for name in CONFIGS}
    assert sizes["minilm-l6"] == 22_713_216  # as the hub's page of the model counts
    assert sizes["bert-base-squad"] == 108_893_186


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"architectures": ["BertForMaskedLM"]},
            "architectures 'BertForMaskedLM' is not supported",
        ),
        ({"architectures": None}, "known: BertModel, BertForQuestionAnswering"),
    ],
)
def test_other_classes_are_refused(change, message):
    with pytest.raises(LowrankError, match=message):
        Architecture.from_config(tiny_bert.ENCODER | change)
    short = {key: value for key, value in tiny_bert.ENCODER.items() if key != "type_vocab_size"}
    with pytest.raises(LowrankError, match="lacks type_vocab_size"):
        Architecture.from_config(short)


def test_groups_and_names():
    architecture = Architecture.from_config(tiny_bert.ENCODER)
    made = Decomposition.make(architecture, [1], ["mlp", "q"])
    assert made.tensors == ("q", "int", "o")
    assert made.name(architecture) == "tucker-r1-l1-q.int.o"
    assert Decomposition.from_name(architecture, made.name(architecture)) == made
    assert Decomposition.make(architecture, [1], "attention").tensors == ("q", "k", "v", "so")


@pytest.fixture(scope="module", params=KINDS)
def base(request, tmp_path_factory):
    """A tiny model with its manifest and the factors of all layers."""
    config = KINDS[request.param]
    folder = tmp_path_factory.mktemp("base")
    tiny_bert.save_model(folder / "weights", config)
    write_json(folder / "manifest.json", {"files": {}, "source": "test"})
    architecture = Architecture.from_config(config)
    for layer in range(1, 5):
        path = folder / f"{layer}.safetensors"
        factorize_layer(folder / "weights", architecture, layer, 6, "tucker", path)
    return folder, architecture


def compressed(base, output, layers, **fields):
    folder, architecture = base
    decomposition = Decomposition.make(architecture, layers, **fields)
    files = {layer: folder / f"{layer}.safetensors" for layer in decomposition.layers}
    manifest = folder / "manifest.json"
    compress(architecture, "tiny", manifest, decomposition, files, output)
    return output


def outputs(model):
    with torch.no_grad():
        made = model(torch.arange(5, 40)[None])
    if hasattr(made, "start_logits"):
        return torch.stack([made.start_logits, made.end_logits])
    return made.last_hidden_state


@pytest.mark.parametrize(
    ("layers", "tensors", "rank"), [([2], "all", 1), ([1, 4], ["q", "int"], 5)]
)
def test_loaded_model_is_the_truncated_one(base, tmp_path, layers, tensors, rank):
    folder, architecture = base
    path = compressed(base, tmp_path / "c", layers, tensors=tensors, rank=rank)
    model, manifest = load_compressed(folder / "weights", path, "float32")
    expected = load_base(folder / "weights", "float32")
    names = Decomposition.make(architecture, layers, tensors, rank).tensors
    for layer in layers:
        for tensor in names:
            module = expected.get_submodule(architecture.module_path(layer, tensor))
            left, values, right = np.linalg.svd(module.weight.detach().double().numpy())
            product = (left[:, :rank] * values[:rank]) @ right[:rank]
            module.weight.data = torch.tensor(product).float()
    assert torch.allclose(outputs(model), outputs(expected), atol=2e-4)
    replaced = [module for module in model.modules() if isinstance(module, LowRankLinear)]
    assert len(replaced) == len(manifest["modules"]) == len(layers) * len(names)
    assert all(module.bias is not None for module in replaced)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    cores = rank**2 * len(replaced)  # stored, and multiplied into a factor by the loader
    assert manifest["parameters"]["compressed"] == parameters + cores


def test_dense_configuration_is_the_base_model(base, tmp_path):
    model, _ = load_compressed(base[0] / "weights", compressed(base, tmp_path / "c", []), "float32")
    assert torch.equal(outputs(model), outputs(load_base(base[0] / "weights", "float32")))


def test_drop_leaves_the_layers_out(base, tmp_path):
    folder, architecture = base
    path = compressed(base, tmp_path / "c", [2, 3], method="drop")
    model, manifest = load_compressed(folder / "weights", path, "float32")
    expected = load_base(folder / "weights", "float32")
    kept = expected.get_submodule(architecture.family.layer_path)
    del kept[1:3]
    assert torch.equal(outputs(model), outputs(expected))
    assert model.config.num_hidden_layers == 2
    total = sum(parameter.numel() for parameter in model.parameters())
    assert manifest["parameters"]["compressed"] == total


@pytest.mark.parametrize("fields", [{"rank": 3}, {"method": "drop"}])
def test_export_is_a_plain_model_with_the_same_answers(base, tmp_path, fields):
    folder, architecture = base
    path = compressed(base, tmp_path / "c", [1, 3], **fields)
    export_dense(folder / "weights", path, "float32", tmp_path / "dense")
    model, _ = load_compressed(folder / "weights", path, "float32")
    answering = architecture.task == "question_answering"
    plain = (AutoModelForQuestionAnswering if answering else AutoModel).from_pretrained(
        tmp_path / "dense", dtype=torch.float32
    )
    assert torch.allclose(outputs(plain), outputs(model), atol=2e-4)
    assert not any(isinstance(module, LowRankLinear) for module in plain.modules())
    assert read_json(tmp_path / "dense" / "config.json")["lowrank"]["base"] == "tiny"


def test_a_checkpoint_without_the_head_is_refused(tmp_path):
    directory = tiny_bert.save_model(tmp_path / "w", tiny_bert.ANSWERING)
    tensors = load_file(directory / "model.safetensors")
    tensors = {name: value for name, value in tensors.items() if not name.startswith("qa_outputs")}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LowrankError, match=r"lacks qa_outputs\.bias of a BertForQuestionAnswering"):
        load_base(directory, "float32")


def test_weights_of_a_seed_are_of_the_declared_class(tmp_path):
    fetch_model(
        "tiny",
        [{"random": 3}],
        tiny_bert.ANSWERING,
        tmp_path / "weights",
        tmp_path / "manifest.json",
        tmp_path,
    )
    model = load_base(tmp_path / "weights", "float32")
    assert isinstance(model, BertForQuestionAnswering)
    architecture = Architecture.from_config(tiny_bert.ANSWERING)
    assert sum(p.numel() for p in model.parameters()) == architecture.parameters()
