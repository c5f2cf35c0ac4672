"""Tests of the prefix tree and its planner; no model involved."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lowrank.evaluate.packed.tree import CostModel, PrefixTree, Row, pack_rows

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=12)


def trie_size(sequences, start=0):
    return len({tuple(s[: d + 1]) for s in sequences for d in range(start, len(s))})


def rows_of(segment):
    own = [row for batch in segment.batches for row in batch]
    return own + [row for child in segment.children for row in rows_of(child)]


def check(tree, segment, known, cost):
    """Every segment continues the one around it, and rows hold just the tokens of a subtree."""
    assert segment.start == known
    assert len({tree.sequences[k][: segment.end] for k in segment.members}) == 1
    for batch in segment.batches:
        widest = max(row.tokens for row in batch)
        assert len(batch) == 1 or len(batch) * widest <= cost.batch_tokens
        for row in batch:
            assert row.start == segment.end
            members = [tree.sequences[k] for k in row.members]
            assert row.tokens == trie_size(members, row.start)
            assert len(row.members) == 1 or row.tokens <= cost.row_tokens
    for child in segment.children:
        check(tree, child, segment.end, cost)


@settings(max_examples=200, deadline=None)
@given(SEQUENCES, st.integers(1, 40), st.integers(1, 40), st.integers(1, 5))
def test_plan_holds_every_sequence_once(sequences, batch_tokens, row_tokens, cached_prefix):
    tree = PrefixTree(sequences)
    cost = CostModel(batch_tokens, row_tokens, 1.0, 1e-3, cached_prefix)
    plan = tree.plan(cost)
    members = sorted(k for row in rows_of(plan) for k in row.members)
    assert members == list(range(len(tree.sequences)))
    check(tree, plan, 0, cost)
    assert plan.padded_tokens >= plan.computed_tokens >= trie_size(sequences)


@settings(max_examples=100, deadline=None)
@given(SEQUENCES)
def test_tree_knows_each_sequence(sequences):
    tree = PrefixTree(sequences)
    assert [list(tree.sequences[k]) for k in tree.index] == sequences
    assert len(set(tree.sequences)) == len(tree.sequences)
    distinct = sum(len(s) - h for s, h in zip(tree.sequences, tree.shared, strict=True))
    assert distinct == trie_size(sequences)


def test_without_limits_nothing_is_computed_twice():
    sequences = [[1] * 30 + [k, k + 1] for k in range(10)] + [[2, 3], [2, 4]]
    plan = PrefixTree(sequences).plan(CostModel(10_000, 10_000, 1.0, 0.0, 10_000))
    assert plan.computed_tokens == trie_size(sequences)
    assert not plan.children


def test_long_prefix_is_computed_apart():
    sequences = [[1] * 300 + [k] * 40 for k in range(20)]
    plan = PrefixTree(sequences).plan(CostModel(128, 128, 32.0, 1e-3, 16))
    (child,) = plan.children
    assert (child.start, child.end) == (0, 300)
    assert plan.computed_tokens == trie_size(sequences)


def test_prefix_that_is_a_whole_sequence():
    sequences = [[1] * 50, [1] * 50 + [2] * 9, [1] * 50 + [3] * 9]
    plan = PrefixTree(sequences).plan(CostModel(32, 32, 1.0, 1e-3, 4))
    check(PrefixTree(sequences), plan, 0, CostModel(32, 32, 1.0, 1e-3, 4))
    assert sorted(k for row in rows_of(plan) for k in row.members) == [0, 1, 2]


def test_plan_of_some_members():
    tree = PrefixTree([[1, 2, 3], [1, 2, 4], [1, 5]])
    plan = tree.plan(CostModel(), [0, 2])
    (row,) = rows_of(plan)
    assert row == Row((0, 2), 0, 4)


def test_shared_prefixes():
    tree = PrefixTree([[1, 2, 3, 4], [1, 2, 3, 5], [7, 7, 7], [7, 7, 8], [9]])
    assert tree.shared_prefixes(2) == [(3, [0, 1]), (2, [2, 3]), (0, [4])]
    assert tree.shared_prefixes(4) == [(0, [0, 1, 2, 3, 4])]


def test_rows_of_like_length_go_together():
    rows = [Row((k,), 0, tokens) for k, tokens in enumerate([5, 50, 6, 49])]
    batches = pack_rows(rows, CostModel(100, 100, 1.0))
    assert [[row.tokens for row in batch] for batch in batches] == [[50, 49], [6, 5]]


def test_halved():
    cost = CostModel(100, 80)
    assert (cost.halved().batch_tokens, cost.halved().row_tokens) == (50, 50)
    assert CostModel(1, 1).halved().batch_tokens == 1


@pytest.mark.parametrize("sequences", [[[]], [[1], []]])
def test_empty_sequence_is_refused(sequences):
    with pytest.raises(ValueError, match="empty"):
        PrefixTree(sequences)


def test_costs_are_checked():
    with pytest.raises(ValueError, match="at least 1"):
        CostModel(batch_tokens=0)
