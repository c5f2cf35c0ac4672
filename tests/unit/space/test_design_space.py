import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition, expand_layers, scale_layers
from lowrank.space.methods import METHODS
from lowrank.space.rank_rule import BreakEvenShare, ChannelShare, ModuleRanks, PivotedShare

LLAMA_7B = Architecture.from_config(read_yaml("config/models/llama-2-7b.yaml")["architecture"])
SMOL, BERT_BASE = (
    Architecture.from_config(read_yaml(f"config/models/{name}.yaml")["architecture"])
    for name in ("smollm2-135m-instruct", "bert-base-squad")
)
TENSORS = LLAMA_7B.tensors

layer_sets = st.sets(st.integers(1, 32), min_size=1)
tensor_sets = st.sets(st.sampled_from(TENSORS), min_size=1)
shares = st.decimals("0.00001", "1.37", places=5).map(BreakEvenShare.make)  # 1.37: rank 4089 of d
module_ranks = st.tuples(st.integers(0, 4095), st.integers(0, 4095), st.integers(0, 4095)).map(
    lambda steps: ModuleRanks.make(
        LLAMA_7B,
        {
            layer: {
                tensor: 1 + (steps[0] + layer * steps[1] + place * steps[2]) % 4096
                for place, tensor in enumerate(TENSORS)
            }
            for layer in range(1, 33)
        },
    )
)
ranks = st.one_of(st.integers(1, 4096), shares, module_ranks)
methods = st.sampled_from(["tucker", "svd"])
ways = st.sampled_from(
    [
        {"method": "tucker"},
        {"method": "svd"},
        {"method": "svd", "form": "pivoted"},
        {"method": "lord", "calibration": "prose"},
        {"method": "rom_bias", "calibration": "prose"},
        {"method": "rom", "calibration": "c4_long", "form": "pivoted"},
    ]
)


@given(layer_sets, tensor_sets, ranks, ways)
def test_name_and_decomposition_are_one_to_one(layers, tensors, rank, way):
    made = Decomposition.make(LLAMA_7B, layers, tensors, rank, **way)
    name = made.name(LLAMA_7B)
    assert Decomposition.from_name(LLAMA_7B, name, made.rank.modules) == made
    assert len(name) < 200 and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")
    shuffled = Decomposition.make(
        LLAMA_7B, sorted(layers, reverse=True), sorted(tensors), rank, **way
    )
    assert shuffled == made and hash(shuffled) == hash(made)


EVERYWHERE_ONE = {layer: dict.fromkeys(TENSORS, 1) for layer in range(1, 33)}
alike = st.sampled_from(
    [
        *(1, 2),
        *(BreakEvenShare.make(share) for share in ("0.5", "0.50", "0.51")),
        ModuleRanks.make(LLAMA_7B, EVERYWHERE_ONE),
        ModuleRanks.make(LLAMA_7B, {**EVERYWHERE_ONE, 7: {**EVERYWHERE_ONE[7], "q": 2}}),
    ]
)


@given(layer_sets, tensor_sets, alike, alike)
def test_equal_decompositions_are_those_of_equal_names(layers, tensors, one, other):
    first, second = (Decomposition.make(LLAMA_7B, layers, tensors, rank) for rank in (one, other))
    assert (first == second) == (first.name(LLAMA_7B) == second.name(LLAMA_7B))
    assert first != second or hash(first) == hash(second)


@pytest.mark.parametrize(
    ("rank", "method", "layers", "tensors", "name"),
    [
        (1, "tucker", [3, 30], "all", "tucker-r1-l3.30-all"),
        (250, "svd", [3], ["q", "k"], "svd-r250-l3-q.k"),
        (BreakEvenShare.make(0.60), "svd", ["25-32"], "all", "svd-b0.6-l25-32-all"),
        (BreakEvenShare.make("0.600"), "svd", ["25-32"], "all", "svd-b0.6-l25-32-all"),
        (BreakEvenShare.make(1), "tucker", [1], "d", "tucker-b1-l1-d"),
        (BreakEvenShare.make(1e-7), "tucker", [1], "d", "tucker-b0.0000001-l1-d"),
        (BreakEvenShare.make(Decimal("1.0")), "svd", [1], "d", "svd-b1-l1-d"),
    ],
)
def test_names_by_hand(rank, method, layers, tensors, name):
    made = Decomposition.make(LLAMA_7B, layers, tensors, rank, method)
    assert made.name(LLAMA_7B) == name
    assert Decomposition.from_name(LLAMA_7B, name) == made


def test_a_calibration_set_and_a_form_are_part_of_the_name():
    share = PivotedShare.make(0.8)
    made = Decomposition.make(LLAMA_7B, ["1-32"], "all", share, "svd_llm", "prose", "pivoted")
    assert made.name(LLAMA_7B) == "svd_llm.prose-p0.8-l1-32-all-pivoted"
    assert made.factorization == "svd_llm.prose"
    plain = Decomposition.make(LLAMA_7B, [3], "q", 2, "svd", "prose")
    assert plain.name(LLAMA_7B) == "svd-r2-l3-q" and plain.calibration == ""
    dropped = Decomposition.make(LLAMA_7B, [3], method="drop", calibration="prose", form="pivoted")
    assert dropped.name(LLAMA_7B) == "drop-l3"


def test_channels_of_the_mlp_by_hand():
    """0.5 of 11008 channels: half of each of its three tensors; BERT loses their biases as well."""
    share = ChannelShare.make(0.5)
    made = Decomposition.make(LLAMA_7B, [1, 3], "all", share, "wanda", "prose")
    assert made.name(LLAMA_7B) == "wanda.prose-k0.5-l1.3"
    assert Decomposition.from_name(LLAMA_7B, "wanda.prose-k0.5-l1.3") == made
    assert made.tensors == ("g", "u", "d") and made.form == "channels"
    assert made.removed_parameters(LLAMA_7B) == 2 * 3 * 5504 * 4096
    bert = Architecture.from_config(read_yaml("config/models/bert-base-squad.yaml")["architecture"])
    made = Decomposition.make(bert, [2], "all", share, "wanda", "prose")
    assert made.removed_parameters(bert) == 2 * 1536 * 768 + 1536


def test_groups_of_heads_by_hand():
    """SmolLM2: 3 key/value heads of 64 numbers, each with 3 query heads. Two of them are kept.

    A head has 2 · 3 · 64 · 576 weights of Q and SO and 2 · 64 · 576 of K and V; a channel 3 · 576.
    """
    head, channel = 8 * 64 * 576, 3 * 576
    share = ChannelShare.make(0.8)
    heads = Decomposition.make(SMOL, [1, 3], "attention", share, "wanda_sp", "prose")
    assert heads.name(SMOL) == "wanda_sp.prose-k0.8-l1.3-q.k.v.so"
    assert heads.removed_parameters(SMOL) == 2 * head
    kept = [heads.rank.rank_of(SMOL, 1, tensor) for tensor in heads.tensors]
    assert kept == [384, 128, 128, 384]
    # 0.8 of 3 · 294,912 + 1536 · 1728 = 3,538,944, less two heads, are 1297.07 channels.
    both = Decomposition.make(SMOL, [1, 3], "all", share, "wanda_sp", "prose")
    assert both.name(SMOL) == "wanda_sp.prose-w0.8-l1.3-all"
    assert both.removed_parameters(SMOL) == 2 * (head + (1536 - 1297) * channel)
    for made in (heads, both):
        assert Decomposition.from_name(SMOL, made.name(SMOL)) == made
    with pytest.raises(LowrankError, match=r"'wanda_sp.prose-k0.8-l1-q.k.v.so' is$"):
        Decomposition.from_name(SMOL, "wanda_sp.prose-w0.8-l1-q.k.v.so")
    half = ChannelShare.make(0.5)
    made = Decomposition.make(BERT_BASE, [2], "attention", half, "wanda_sp", "prose")
    assert made.removed_parameters(BERT_BASE) == 4 * 384 * 768 + 3 * 384  # and biases of Q, K and V
    # How parts are chosen changes no number; but an encoder has no loss of a next token.
    same = Decomposition.make(SMOL, [1, 3], "all", share, "taylor", "prose")
    assert same.name(SMOL) == "taylor.prose-w0.8-l1.3-all"
    assert same.removed_parameters(SMOL) == both.removed_parameters(SMOL)
    assert Decomposition.from_name(SMOL, same.name(SMOL)) == same
    with pytest.raises(
        LowrankError, match="'taylor' reads gradients .* task is 'question_answering'"
    ):
        Decomposition.make(BERT_BASE, [2], "attention", half, "taylor", "prose")


@given(st.decimals("0.2", 1, places=4), st.sampled_from(["llama", "smol", "bert"]))
def test_a_layer_keeps_its_share_to_one_channel_however_few_its_heads(share, name):
    shapes = {"llama": LLAMA_7B, "smol": SMOL, "bert": BERT_BASE}[name]
    made = Decomposition.make(shapes, [1], "all", ChannelShare.make(share), "wanda_sp", "prose")
    total = shapes.tensor_parameters()
    kept = sum(
        math.prod(shapes.shape(tensor))
        * made.rank.rank_of(shapes, 1, tensor)
        // shapes.shape(tensor)[shapes.axis(tensor)]
        for tensor in shapes.tensors
    )
    channel = sum(map(math.prod, map(shapes.shape, shapes.family.groups["mlp"])))
    channel //= shapes.config["intermediate_size"]
    assert 0 <= Decimal(share) * total - kept < channel


def test_parameters_of_forms_and_biases_by_hand():
    """Rank 100 of Q, 4096 × 4096, and of G, 11008 × 4096; Llama has no biases, BERT has."""

    def removed(architecture, tensor, **fields):
        made = Decomposition.make(architecture, [1], tensor, 100, **fields)
        return made.removed_parameters(architecture)

    square, tall = 4096**2, 11008 * 4096
    pairs = {"method": "svd_llm", "calibration": "prose"}
    assert removed(LLAMA_7B, "q", **pairs) == square - 100 * 8192
    assert removed(LLAMA_7B, "q", **pairs, form="pivoted") == square - 100 * 8192 + 100**2
    assert removed(LLAMA_7B, "g", **pairs, form="pivoted") == tall - 100 * 15104 + 100**2
    lord = {"method": "lord", "calibration": "prose"}
    assert removed(LLAMA_7B, "g", **lord) == tall - 100 * 15104 - 11008
    bert = Architecture.from_config(read_yaml("config/models/bert-base-squad.yaml")["architecture"])
    assert removed(bert, "q", **lord) == 768**2 - 100 * 2 * 768


@given(layer_sets)
def test_drop_ignores_rank_and_tensors(layers):
    one = Decomposition.make(LLAMA_7B, layers, "q", 7, "drop")
    assert one == Decomposition.make(LLAMA_7B, layers, "all", 1, "drop")
    assert Decomposition.from_name(LLAMA_7B, one.name(LLAMA_7B)) == one


@given(layer_sets, tensor_sets, ranks, methods)
def test_removed_parameters_is_the_sum_over_tensors(layers, tensors, rule, method):
    made = Decomposition.make(LLAMA_7B, layers, tensors, rule, method)
    by_hand = 0
    for layer in layers:
        for tensor in tensors:
            height, width = LLAMA_7B.shape(tensor)
            rank = rule if isinstance(rule, int) else rule.rank_of(LLAMA_7B, layer, tensor)
            core = rank**2 if METHODS[method].has_core else 0
            by_hand += height * width - (height * rank + core + rank * width)
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
        ({"layers": ["1-9999999999"]}, "'1-9999999999': no model has 9999999999 layers"),
        ({"layers": ["x"]}, "'x' is neither a layer number nor a range"),
        ({"layers": [1], "rank": 0}, "rank 0 is not a positive whole number"),
        ({"layers": [1], "rank": True}, "rank True is not a positive whole number"),
        ({"layers": [1], "rank": 4097}, "rank 4097 is above the rank 4096 of tensor q"),
        ({"layers": [1], "tensors": ["x"]}, "unknown tensor 'x'"),
        ({"layers": [1], "tensors": ["q", "qkv"]}, "tensor 'q' is listed twice"),
        ({"layers": [1], "tensors": []}, "the list of tensors is empty"),
        ({"layers": [1], "method": "magic"}, "unknown method 'magic'"),
        ({"layers": [1], "form": "round"}, "unknown form 'round'; known: pairs, pivoted"),
        ({"layers": [1], "form": "pivoted"}, "method 'tucker' has a core and no form 'pivoted'"),
        (
            {"layers": [1], "rank": ChannelShare.make(0.5)},
            "method 'tucker' keeps ranks, and no share of the channels",
        ),
        (
            {"layers": [1], "method": "wanda", "calibration": "prose"},
            "method 'wanda' keeps a share of the channels, and no rank",
        ),
        (
            {
                "layers": [1],
                "tensors": ["q", "mlp"],
                "rank": ChannelShare.make(0.5),
                "method": "wanda_sp",
                "calibration": "prose",
            },
            "method 'wanda_sp' leaves out channels and heads of whole groups of tensors: use att",
        ),
        ({"layers": [1], "method": "lord"}, "method 'lord' needs a calibration set"),
        (
            {"layers": [1], "method": "rom", "calibration": "a-b"},
            "method 'rom' needs a calibration set, named in small letters: 'a-b' is none",
        ),
        (
            {"layers": [1], "rank": BreakEvenShare.make(2.5)},
            "2.5 of break-even: rank 5120 is above the rank 4096 of tensor q",
        ),
        (
            {"layers": [1, 2], "tensors": "qkv", "rank": ModuleRanks(((1, "q", 3), (2, "q", 3)))},
            "the ranks lack tensor k of layer 1",
        ),
    ],
)
def test_invalid_decompositions_say_why(arguments, message):
    with pytest.raises(LowrankError, match="^" + message.replace("(", r"\(")):
        Decomposition.make(LLAMA_7B, **arguments)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tucker-r1-l2.1-all", "is not canonical: 'tucker-r1-l1-2-all' is"),
        ("tucker-r1-l1.2-all", "is not canonical"),
        ("tucker-r01-l1-all", "is not canonical: 'tucker-r1-l1-all' is"),
        ("tucker-l1-all", "is not canonical: 'tucker-r1-l1-all' is"),
        ("svd-b0.60-l1-all", "is not canonical: 'svd-b0.6-l1-all' is"),
        ("svd-b1.0-l1-all", "is not canonical: 'svd-b1-l1-all' is"),
        ("svd-b.6-l1-all", "'b.6' is not the name of a rank, a share or ranks a module"),
        ("svd-b0-l1-all", "the share '0' of break-even is not a positive number"),
        ("svd-m1a2b-l1-all", "'m1a2b' is not the name of a rank, a share or ranks a module"),
        ("svd-m1a2b3c4d5e-l1-all", "m1a2b3c4d5e is the digest of ranks that no configuration"),
        ("drop-b0.6-l1", "is not canonical: 'drop-l1' is"),
        ("tucker-r1", "is not the name of a decomposition"),
        ("x-l1", "unknown method 'x'"),
        ("svd.prose-r1-l1-all", "is not canonical: 'svd-r1-l1-all' is"),
        ("svd-r1-l1-all-pairs", "is not canonical: 'svd-r1-l1-all' is"),
        ("svd-r1-l1-all-round", "unknown form 'round'"),
        ("lord-r1-l1-all", "method 'lord' needs a calibration set"),
        ("svd-p1.5-l1-all-pivoted", "the share '1.5' of the parameters, pivoted is above 1"),
    ],
)
def test_names_that_are_not_canonical_are_refused(name, message):
    with pytest.raises(LowrankError, match=message):
        Decomposition.from_name(LLAMA_7B, name)


def test_ranks_of_another_digest_are_refused():
    rule = ModuleRanks.make(LLAMA_7B, {3: {"q": 5}})
    name = Decomposition.make(LLAMA_7B, [3], "q", rule).name(LLAMA_7B)
    with pytest.raises(LowrankError, match=f"'{name}' is not canonical"):
        Decomposition.from_name(LLAMA_7B, name, {"3": {"q": 6}})


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
