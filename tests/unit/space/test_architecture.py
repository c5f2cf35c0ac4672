import pytest
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml
from lowrank.space.architecture import Architecture
from lowrank.tables.meta_device import parameter_counts
from tiny import ARCHITECTURE
from transformers import AutoConfig, AutoModelForCausalLM

CONFIGS = {
    name: read_yaml(f"config/models/{name}.yaml")["architecture"]
    for name in ("llama-2-7b", "llama-2-7b-chat", "smollm2-135m-instruct")
}
CONFIGS["tiny"] = ARCHITECTURE
CONFIGS["biased"] = {**ARCHITECTURE, "attention_bias": True, "mlp_bias": True}
CONFIGS["mistral"] = {**ARCHITECTURE, "model_type": "mistral", "head_dim": 8}


@pytest.mark.parametrize("name", CONFIGS)
def test_closed_form_equals_the_meta_device(name):
    config = CONFIGS[name]
    architecture = Architecture.from_config(config)
    counts = parameter_counts(config)
    assert architecture.parameters() == counts[""]
    layer = sum(count for path, count in counts.items() if ".layers.1." in path)
    assert architecture.layer_parameters() == layer
    for number in (1, architecture.layers):
        for tensor in architecture.tensors:
            height, width = architecture.shape(tensor)
            assert counts[f"{architecture.module_path(number, tensor)}.weight"] == height * width


def test_shapes_are_those_of_the_modules():
    fields = {key: value for key, value in ARCHITECTURE.items() if key != "model_type"}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **fields))
    architecture = Architecture.from_config(ARCHITECTURE)
    for tensor in architecture.tensors:
        module = model.get_submodule(architecture.module_path(1, tensor))
        assert tuple(module.weight.shape) == architecture.shape(tensor)


def test_unknown_families_and_missing_sizes_are_named():
    with pytest.raises(LowrankError, match="model_type 'gpt2' is not supported"):
        Architecture.from_config({"model_type": "gpt2"})
    with pytest.raises(LowrankError, match="lacks hidden_size"):
        Architecture.from_config({"model_type": "llama", "num_hidden_layers": 2})
