"""Entries of the registry: those that are there fit, and mistakes are named."""

from pathlib import Path

import pytest
from lowrank.base.errors import LowrankError
from lowrank.project.registry import Registry
from lowrank.quantize.entry import FAKE, KEYS, Quantization

CONFIG = Path(__file__).parents[3] / "config"
REGISTRY = Registry(CONFIG)
NAMES = sorted(path.stem for path in (CONFIG / "quantizations").glob("*.yaml"))
NF4 = {"label": "4 bits", "method": "nf4", "block": 64, "nested": True}


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_is_a_quantization_that_says_whether_it_is_fake(name):
    entry = REGISTRY.entry("quantization", name)
    made = Quantization.from_entry(entry)
    assert made.is_fake == entry["fake"] == (made.method in FAKE)
    assert made.parts == ("linear",)
    for key in KEYS[made.method]:
        assert getattr(made, key) == entry[key]


def test_the_settings_of_spqr_are_those_of_its_authors():
    made = Quantization.from_entry(REGISTRY.entry("quantization", "spqr_like_3"))
    assert (made.bits, made.group, made.statistics_bits) == (3, 16, 3)
    assert (made.statistics_group, made.outlier_threshold) == (16, 0.2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blok": 64}, "here: blok: unknown key; did you mean 'block'"),
        ({"block": 48}, "here: block: 48 is not one of"),
        ({"method": "gptq"}, "here: method: 'gptq' is not one of"),
        ({"parts": []}, "here: parts"),
        ({"outlier_threshold": 0}, "here: outlier_threshold"),
    ],
)
def test_the_schema_names_what_is_wrong(change, message):
    with pytest.raises(LowrankError, match=message):
        REGISTRY.checked("quantization", NF4 | change, "here")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (NF4 | {"group": 16}, "here: group: nf4 has no such setting; its own: block, nested"),
        ({"method": "int8"}, "here: int8 needs block"),
        (NF4 | {"fake": True}, "here: fake: nf4 has fake: false"),
        (
            REGISTRY.entry("quantization", "spqr_like") | {"fake": False},
            "here: fake: spqr_like has fake: true",
        ),
    ],
)
def test_a_method_has_its_own_settings_and_no_others(entry, message):
    with pytest.raises(LowrankError, match=message):
        Quantization.from_entry(entry, "here")
