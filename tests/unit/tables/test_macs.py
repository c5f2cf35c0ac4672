import pytest
import torch
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml
from lowrank.tables import macs
from lowrank.tables.macs import count
from tiny import ARCHITECTURE
from transformers import AutoConfig


def shapes(name):
    folder = "models" if name == "llama-2-7b" else "architectures"
    return read_yaml(f"config/{folder}/{name}.yaml")["architecture"]


def test_llama_by_hand():
    cost = count(shapes("llama-2-7b"))
    weights = 32 * (4 * 4096**2 + 3 * 4096 * 11008) + 32000 * 4096  # layers and LM head
    assert cost.layer_macs == 128 * weights
    assert cost.attention_macs == 32 * 2 * 128 * 128 * 4096
    assert cost.macs == 850_000_871_424
    assert cost.parameters == weights + 32000 * 4096 + (2 * 32 + 1) * 4096 == 6_738_415_616


def test_grouped_query_attention_by_hand():
    cost = count(shapes("llama-2-70b"))
    layer = 2 * 8192**2 + 2 * 8192 * 1024 + 3 * 8192 * 28672
    assert cost.layer_macs == 128 * (80 * layer + 32000 * 8192)
    assert cost.attention_macs == 80 * 2 * 128 * 128 * 8192
    assert cost.parameters == 80 * (layer + 2 * 8192) + 2 * 32000 * 8192 + 8192


@pytest.mark.parametrize(
    ("name", "layers", "hidden", "parameters"),
    [("base", 12, 768, 109_482_240), ("large", 24, 1024, 335_141_888)],
)
def test_bert_by_hand(name, layers, hidden, parameters):
    cost = count(shapes(f"bert-{name}-uncased"))
    # Four square tensors and two of 4 : 1 a layer; the pooler sees one position.
    assert cost.layer_macs == 128 * layers * 12 * hidden**2 + hidden**2
    assert cost.attention_macs == layers * 2 * 128 * 128 * hidden
    encoder = layers * (12 * hidden**2 + 9 * hidden + 4 * hidden)  # biases; two norms
    embeddings = (30522 + 512 + 2 + 2) * hidden
    assert cost.parameters == encoder + embeddings + hidden**2 + hidden == parameters


def test_resnet_by_hand():
    cost = count(shapes("resnet-50"))
    macs = 112**2 * 64 * 3 * 7**2  # stem
    size, inside, previous = 56, 64, 64
    for stage, depth in enumerate((3, 4, 6, 3)):
        output = 4 * inside
        for block in range(depth):
            stride = 2 if block == 0 and stage > 0 else 1
            macs += size**2 * previous * inside  # 1 × 1
            size //= stride
            macs += size**2 * inside * inside * 9  # 3 × 3
            macs += size**2 * inside * output  # 1 × 1
            if block == 0:
                macs += size**2 * previous * output  # shortcut
            previous = output
        inside *= 2
    macs += 2048 * 1000
    assert cost.macs == cost.layer_macs == macs == 4_089_184_256
    assert cost.parameters == 25_557_032


def test_the_thesis_counts_the_flops_of_resnet():
    """8.21 B is what FLOPs come to with two a MAC, two an element of a norm and one of a ReLU."""
    made = AutoConfig.for_model("resnet", num_labels=1000)
    elements = {torch.nn.BatchNorm2d: 0, torch.nn.ReLU: 0}

    def add(module, _, output):
        elements[type(module)] += output.numel()

    with torch.device("meta"):
        model = macs.AutoModelForImageClassification.from_config(made).eval()
        for module in model.modules():
            if type(module) in elements:
                module.register_forward_hook(add)
        model(torch.empty(1, 3, 224, 224))
    flops = 2 * count(shapes("resnet-50")).macs
    flops += 2 * elements[torch.nn.BatchNorm2d] + elements[torch.nn.ReLU]
    assert round(flops / 1e9, 2) == 8.21


def test_batch_and_sequence():
    one, many = count(ARCHITECTURE, 1, 8), count(ARCHITECTURE, 3, 16)
    assert many.layer_macs == 6 * one.layer_macs
    assert many.attention_macs == 3 * 4 * one.attention_macs
    assert many.parameters == one.parameters


def test_bytes_and_ratio():
    cost = macs.Cost(parameters=10, layer_macs=50, attention_macs=10)
    assert (cost.macs, cost.fp16_bytes, cost.macs_per_byte) == (60, 20, 3.0)


def test_an_uncounted_operation_is_found(monkeypatch):
    monkeypatch.setattr(macs, "attention_macs", lambda *_: 0)
    with pytest.raises(LowrankError, match=r"llama: [\d,]+ MACs by shape, but [\d,]+ FLOPs by"):
        count(ARCHITECTURE)


def test_a_typing_error_in_a_field_is_one_line():
    with pytest.raises(LowrankError, match="a resnet configuration has no field 'depth'"):
        count({"model_type": "resnet", "depth": [3, 4, 6, 3]})
