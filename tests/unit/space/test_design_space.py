import pytest
from hypothesis import given
from hypothesis import strategies as st
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition, expand_layers, scale_layers

LLAMA_7B = Architecture.from_config(read_yaml("config/models/llama-2-7b.yaml")["architecture"])
TENSORS = LLAMA_7B.tensors

layer_sets = st.sets(st.integers(1, 32), min_size=1)
tensor_sets = st.sets(st.sampled_from(TENSORS), min_size=1)


@given(layer_sets, tensor_sets, st.integers(1, 4096), st.sampled_from(["tucker", "svd"]))
def test_name_and_decomposition_are_one_to_one(layers, tensors, rank, method):
    made = Decomposition.make(LLAMA_7B, layers, tensors, rank, method)
    name = made.name(LLAMA_7B)
    assert Decomposition.from_name(LLAMA_7B, name) == made
    assert len(name) < 200 and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")
    shuffled = Decomposition.make(
        LLAMA_7B, sorted(layers, reverse=True), sorted(tensors), rank, method
    )
    assert shuffled == made and hash(shuffled) == hash(made)


@given(layer_sets)
def test_drop_ignores_rank_and_tensors(layers):
    one = Decomposition.make(LLAMA_7B, layers, "q", 7, "drop")
    assert one == Decomposition.make(LLAMA_7B, layers, "all", 1, "drop")
    assert Decomposition.from_name(LLAMA_7B, one.name(LLAMA_7B)) == one


@given(layer_sets, tensor_sets, st.integers(1, 4096))
def test_removed_parameters_is_the_sum_over_tensors(layers, tensors, rank):
    made = Decomposition.make(LLAMA_7B, layers, tensors, rank)
    by_hand = 0
    for _ in layers:
        for tensor in tensors:
            height, width = LLAMA_7B.shape(tensor)
            by_hand += height * width - (height * rank + rank**2 + rank * width)
    assert made.removed_parameters(LLAMA_7B) == by_hand


def test_reductions_of_table_4_2_by_hand():
    # One layer: 4 · 4096² + 3 · 4096 · 11008 weights become 7 rank-1 triples.
    dense = 4 * 4096**2 + 3 * 4096 * 11008
    kept = 4 * (4096 + 1 + 4096) + 3 * (4096 + 1 + 11008)
    total = 2 * 32000 * 4096 + 32 * (dense + 2 * 4096) + 4096
    assert total == LLAMA_7B.parameters() == 6_738_415_616
    for layers in ([3, 30], [3, 18, 32], range(1, 33)):
        made = Decomposition.make(LLAMA_7B, layers)
        by_hand = 100 * len(list(layers)) * (dense - kept) / total
        assert made.parameter_reduction(LLAMA_7B) == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": [0]}, "layer 0 is outside 1…32"),
        ({"layers": [33]}, "layer 33 is outside 1…32"),
        ({"layers": [3, 3]}, "layer 3 is listed twice"),
        ({"layers": ["1-3", 2]}, "layer 2 is listed twice"),
        ({"layers": ["5-3"]}, "the layer range '5-3' runs backwards"),
        ({"layers": ["x"]}, "'x' is neither a layer number nor a range"),
        ({"layers": [1], "rank": 0}, "rank 0 is not a positive whole number"),
        ({"layers": [1], "rank": True}, "rank True is not a positive whole number"),
        ({"layers": [1], "rank": 4097}, "rank 4097 is above the rank 4096 of tensor q"),
        ({"layers": [1], "tensors": ["x"]}, "unknown tensor 'x'"),
        ({"layers": [1], "tensors": ["q", "qkv"]}, "tensor 'q' is listed twice"),
        ({"layers": [1], "tensors": []}, "the list of tensors is empty"),
        ({"layers": [1], "method": "magic"}, "unknown method 'magic'"),
    ],
)
def test_invalid_decompositions_say_why(arguments, message):
    with pytest.raises(LowrankError, match="^" + message.replace("(", r"\(")):
        Decomposition.make(LLAMA_7B, **arguments)


@pytest.mark.parametrize("name", ["tucker-r1-l2.1-all", "tucker-r1-l1.2-all", "tucker-r1", "x-l1"])
def test_names_that_are_not_canonical_are_refused(name):
    with pytest.raises(LowrankError):
        Decomposition.from_name(LLAMA_7B, name)


def test_groups_of_tensors():
    assert Decomposition.make(LLAMA_7B, [1], "attention").tensors == ("q", "k", "v", "so")
    assert Decomposition.make(LLAMA_7B, [1], ["mlp", "q"]).tensors == ("q", "g", "u", "d")


@given(layer_sets, st.integers(2, 80))
def test_scaled_layers_are_valid_and_keep_the_ends(layers, depth):
    scaled = scale_layers(sorted(layers), 32, depth)
    assert scaled == tuple(sorted(set(scaled))) and scaled[0] >= 1 and scaled[-1] <= depth
    assert (1 in layers) <= (1 in scaled) and (32 in layers) <= (depth in scaled)
    assert scale_layers(sorted(layers), 32, 32) == tuple(sorted(layers))


def test_scaled_layers_by_hand():
    # (3 − 1) · 29/31 = 1.87 and (30 − 1) · 29/31 = 27.13.
    assert scale_layers([3, 30], 32, 30) == (3, 28)
    assert scale_layers(range(1, 33), 32, 30) == tuple(range(1, 31))


def test_ranges_expand():
    assert expand_layers([2, "4-6", "9"]) == (2, 4, 5, 6, 9)
