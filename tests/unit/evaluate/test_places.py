"""The place of a question in the order of asking, which scores carry."""

import numpy as np
import pyarrow as pa
import pytest
from lowrank.assets.choice import SUBSET, asking_order
from lowrank.evaluate.requests import (
    POSITION,
    asked_questions,
    first_questions,
    places_of_questions,
)

SUBSETS = ["b"] * 5 + ["a"] * 11 + ["b"] * 4


@pytest.mark.parametrize("limit", [1, 8, 13, None])
def test_the_first_questions_have_the_first_places(limit):
    table = pa.table({SUBSET: SUBSETS, "text": [str(row) for row in range(len(SUBSETS))]})
    settings = {"limit": limit, "block": 8, "seed": 4, "sampling": "random"}
    asked = first_questions(asked_questions(table, settings), limit)
    places = places_of_questions(asked)
    count = limit or len(SUBSETS)
    assert sorted(places.values()) == list(range(count))
    order = asking_order(SUBSETS, 4)
    for subset, position, text in zip(
        asked[SUBSET].to_pylist(),
        asked[POSITION].to_pylist(),
        asked["text"].to_pylist(),
        strict=True,
    ):
        rows = np.flatnonzero(np.array(SUBSETS) == subset)
        assert rows[position] == int(text) == order[places[subset, position]]
