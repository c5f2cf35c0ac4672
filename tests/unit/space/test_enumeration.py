import itertools
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from lowrank.space.enumeration import (
    decomposition_at,
    design_space_size,
    enumerate_decompositions,
    largest_uniform_rank,
    sample_decompositions,
    scale_exponent,
)
from lowrank.space.rank_rule import PrunedRank

LLAMA_7B = Architecture.from_config(read_yaml("config/models/llama-2-7b.yaml")["architecture"])
LLAMA_70B = Architecture.from_config(
    read_yaml("config/architectures/llama-2-70b.yaml")["architecture"]
)
TENSORS = ("q", "k", "v", "so", "g", "u", "d")


def toy(layers: int, rank: int) -> Architecture:
    """Seven tensors whose smallest dimension is `rank`: one head of that size, a hidden of 8."""
    return Architecture.from_config(
        {
            "model_type": "llama",
            "hidden_size": 8,
            "intermediate_size": 9,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": rank,
            "vocab_size": 10,
        }
    )


spaces = st.builds(toy, st.integers(1, 3), st.integers(1, 3))
small = settings(max_examples=9, deadline=None)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_enumeration_is_the_set_of_valid_configurations(layers, rank):
    architecture = toy(layers, rank)
    sets = [
        [
            members
            for size in range(1, len(items) + 1)
            for members in itertools.combinations(items, size)
        ]
        for items in (range(1, layers + 1), TENSORS)
    ]
    by_hand = {("dense", 0, (), ())} | {
        ("tucker", kept, chosen_layers, chosen_tensors)
        for chosen_layers in sets[0]
        for chosen_tensors in sets[1]
        for kept in range(1, rank + 1)
    }
    listed = list(enumerate_decompositions(architecture))
    assert {(d.method, d.rank.label, d.layers, d.tensors) for d in listed} == by_hand
    assert len(listed) == len(by_hand) == design_space_size(architecture)
    assert listed[0].is_dense
    assert listed == list(enumerate_decompositions(architecture))
    assert len({d.name(architecture) for d in listed}) == len(listed)


@small
@given(spaces)
def test_every_configuration_is_valid_and_has_its_own_name(architecture):
    names = set()
    for made in enumerate_decompositions(architecture):
        # `from_name` builds it again with every check of Proposition 3.1.
        assert Decomposition.from_name(architecture, made.name(architecture)) == made
        names.add(made.name(architecture))
    assert len(names) == design_space_size(architecture)


def test_the_order_counts_ranks_then_tensors_then_layers():
    architecture = toy(2, 2)
    names = [d.name(architecture) for d in enumerate_decompositions(architecture)]
    assert names[:6] == [
        "dense",
        "tucker-r1-l1-q",
        "tucker-r2-l1-q",
        "tucker-r1-l1-k",
        "tucker-r2-l1-k",
        "tucker-r1-l1-q.k",
    ]
    assert names[1 + 2 * 127] == "tucker-r1-l2-q"
    assert names[-1] == "tucker-r2-l1-2-all"


def test_sizes_by_hand():
    # 2^32 − 1 = 4294967295 sets of layers, 127 sets of tensors, ranks 1 … 4096, the dense model.
    assert design_space_size(LLAMA_7B) == 4294967295 * 127 * 4096 + 1 == 2_234_207_627_120_641
    assert math.log2(design_space_size(LLAMA_7B)) == pytest.approx(32 + math.log2(127) + 12)
    # 8 key and value heads of 128 bound the rank by 1024.
    assert largest_uniform_rank(LLAMA_70B) == 8 * 128
    assert design_space_size(LLAMA_70B) == (2**80 - 1) * 127 * 1024 + 1
    assert design_space_size(toy(1, 1)) == 128
    # Table 3.1 as printed, with its own five tensors for Llama.
    table = {(12, 6): 18, (24, 6): 30, (32, 5): 37, (80, 5): 85}
    assert {counts: scale_exponent(*counts) for counts in table} == table


def test_a_huge_space_is_listed_lazily():
    first = list(itertools.islice(enumerate_decompositions(LLAMA_70B), 2050))
    assert (
        first[0].is_dense and first[1024].rank == PrunedRank(1024) and first[1025].tensors == ("k",)
    )
    last = decomposition_at(LLAMA_70B, design_space_size(LLAMA_70B) - 1)
    assert (last.rank.label, last.layers, last.tensors) == (1024, tuple(range(1, 81)), TENSORS)


@small
@given(spaces, st.integers(0, 60), st.integers(0, 1000), st.booleans())
def test_samples_are_members_of_the_space(architecture, count, seed, distinct):
    space = set(enumerate_decompositions(architecture))
    drawn = sample_decompositions(architecture, count, seed, distinct)
    assert len(drawn) == count and set(drawn) <= space
    assert drawn == sample_decompositions(architecture, count, seed, distinct)
    if distinct:
        assert len(set(drawn)) == count


@given(st.integers(0, 20), st.integers(0, 1000))
def test_samples_of_a_space_beyond_the_integers_of_a_machine(count, seed):
    drawn = sample_decompositions(LLAMA_70B, count, seed, distinct=True)
    names = {made.name(LLAMA_70B) for made in drawn}
    assert len(names) == count
    for name in names:
        Decomposition.from_name(LLAMA_70B, name)


def test_a_distinct_sample_of_everything_is_the_space():
    architecture = toy(2, 1)
    drawn = sample_decompositions(architecture, design_space_size(architecture), 3, distinct=True)
    assert Counter(drawn) == Counter(enumerate_decompositions(architecture))


@pytest.mark.parametrize("distinct", [False, True])
def test_samples_are_uniform(distinct):
    # 128 configurations, 12,800 draws: χ² with 127 degrees of freedom exceeds 181 once in 1,000.
    architecture, counts, first = toy(1, 1), Counter(), Counter()
    for seed in range(200):
        drawn = sample_decompositions(architecture, 64, seed, distinct)
        counts.update(drawn)
        first[drawn[0] in drawn[1:]] += 1
    assert len(counts) == 128
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 181
    assert (first[True] > 0) is not distinct


def test_what_cannot_be_drawn_is_one_line():
    architecture = toy(1, 1)
    with pytest.raises(LowrankError, match="cannot draw 129 distinct configurations from 128"):
        sample_decompositions(architecture, 129, 0, distinct=True)
    with pytest.raises(LowrankError, match="cannot draw -1 configurations"):
        sample_decompositions(architecture, -1, 0)
    with pytest.raises(LowrankError, match="index 128 is outside the design space of 128"):
        decomposition_at(architecture, 128)
    with pytest.raises(LowrankError, match="method 'drop' works on whole layers"):
        decomposition_at(architecture, 1, "drop")
    with pytest.raises(LowrankError, match="unknown method 'magic'"):
        decomposition_at(architecture, 1, "magic")
