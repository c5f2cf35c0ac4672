"""Which rows a workload has, and what it counts."""

import numpy as np
import pytest
from lowrank.profile.workloads import (
    Requests,
    Workload,
    distinct,
    fixed,
    make_prompt,
    of_benchmark,
)


def test_a_benchmark_s_rows_are_quantiles_of_its_lengths():
    lengths = list(range(1, 101))
    made = of_benchmark("ARC", Requests(lengths, 25), 4)
    assert made.lengths == tuple(
        np.quantile(lengths, [0.125, 0.375, 0.625, 0.875], method="nearest")
    )
    assert (made.phase, made.batch, made.tokens) == ("prefill", 4, sum(made.lengths))
    assert made.rows_per_question == 4
    assert made.padding == pytest.approx(1 - (13 + 38 + 63 + 88) / (4 * 88))


def test_decode_counts_new_tokens_and_prefill_counts_the_prompt():
    entry = {"prompt": 10, "new_tokens": 4}
    assert fixed({**entry, "phase": "decode"}, 3).tokens == 12
    assert fixed({**entry, "phase": "prefill"}, 3).tokens == 30


def test_a_searched_batch_is_no_part_of_a_name_and_names_are_unique():
    entry = {"phase": "prefill", "prompt": 8, "new_tokens": 0}
    for rule in ("largest", "capped"):
        assert fixed(entry, 37, rule).name == "prefill 8, largest batch"
        assert fixed(entry, 37, rule).record()["batch_rule"] == rule
    assert fixed(entry, 37).record()["batch_rule"] == "fixed"
    one, other = Requests([3, 5], 1), Requests([7, 9], 1)
    made = distinct(
        [
            fixed(entry, 2),
            fixed(entry, 2),
            of_benchmark("ARC", one, 2),
            of_benchmark("ARC", other, 2),
        ]
    )
    assert [workload.name for workload in made] == ["prefill 8, batch 2", "ARC", "ARC (2)"]


def test_rows_are_padded_on_the_left_and_the_same_for_every_model():
    workload = Workload("w", "prefill", (3, 5))
    made, again = make_prompt(workload, 100, 7), make_prompt(workload, 100, 7)
    assert made.mask_BT.tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]
    np.testing.assert_array_equal(made.ids_BT, again.ids_BT)
