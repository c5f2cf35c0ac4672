"""Parameter reductions counted module by module."""

import pytest
import tiny
from lowrank.base.errors import LowrankError
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from lowrank.space.rank_rule import BreakEvenShare, ModuleRanks
from lowrank.tables.table_4_2 import table

TINY = Architecture.from_config(tiny.ARCHITECTURE)


def rows_of(*decompositions):
    configurations = [
        {
            "label": "x",
            "name": made.name(TINY),
            "modules": made.rank.modules,
            "thesis_reduction": None,
        }
        for made in decompositions
    ]
    return table("Tiny", "s", tiny.ARCHITECTURE, configurations, False).rows


def test_every_rule_is_counted_module_by_module():
    modules = ModuleRanks.make(TINY, {2: {"q": 3, "d": 9}, 4: {"q": 1, "d": 5}})
    rows = rows_of(
        Decomposition.make(TINY, [2, 4], ["q", "d"], 2, "svd"),
        Decomposition.make(TINY, [2, 4], ["q", "d"], BreakEvenShare.make(0.5), "svd"),
        Decomposition.make(TINY, [2, 4], ["q", "d"], modules, "tucker"),
    )
    # q is 32 × 32 and d is 32 × 48; half of break-even is 8 and 9.
    kept = [
        2 * (2 * 64 + 2 * 80),
        2 * (8 * 64 + 9 * 80),
        sum(rank * 64 + rank**2 for rank in (3, 1)) + sum(rank * 80 + rank**2 for rank in (9, 5)),
    ]
    dense = 2 * (32 * 32 + 32 * 48)
    expected = [f"{100 * (dense - part) / TINY.parameters():.2f}" for part in kept]
    assert [row[2] for row in rows] == expected
    assert [row[5] for row in rows] == ["2, 4"] * 3


def test_two_counts_that_differ_are_an_error(monkeypatch):
    monkeypatch.setattr(Decomposition, "removed_parameters", lambda self, architecture: 1)
    with pytest.raises(LowrankError, match="the closed form and the meta device count differently"):
        rows_of(Decomposition.make(TINY, [2]))
