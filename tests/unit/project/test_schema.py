"""Defaults of a schema, at every depth. Messages are tested in test_configuration."""

import math

import pytest
from lowrank.base.errors import LowrankError
from lowrank.project.schema import checked

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "a": {"type": "integer", "default": 1},
        "no_default": {"type": "integer"},
        "part": {
            "type": "object",
            "properties": {"b": {"type": "integer", "default": 2}},
            "default": {},
        },
        "many": {
            "type": "object",
            "additionalProperties": {
                "type": ["object", "null"],
                "properties": {"c": {"type": ["integer", "null"], "default": 3}},
            },
        },
    },
}


def test_defaults_are_filled_in_at_every_depth_and_the_value_stays_as_it_was():
    value = {"many": {"x": None, "y": {"c": 5}, "z": {"c": None}}}
    made = checked(SCHEMA, value, "here")
    assert made == {
        "a": 1,
        "part": {"b": 2},
        "many": {"x": {"c": 3}, "y": {"c": 5}, "z": {"c": None}},
    }
    assert value == {"many": {"x": None, "y": {"c": 5}, "z": {"c": None}}}
    assert checked(SCHEMA, {}, "here") == {"a": 1, "part": {"b": 2}}
    assert SCHEMA["properties"]["part"]["default"] == {}


@pytest.mark.parametrize("value", [5.0, 1e1, True, math.nan, math.inf])
def test_a_whole_number_is_written_without_a_point(value):
    with pytest.raises(LowrankError, match=f"^here: a: {value} is not a whole number$"):
        checked(SCHEMA, {"a": value}, "here")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_is_finite(value):
    schema = {"properties": {"x": {"type": "number", "exclusiveMinimum": 0}}}
    assert checked(schema, {"x": 2.5}, "here") == {"x": 2.5}
    assert checked(schema, {"x": 2}, "here") == {"x": 2}
    with pytest.raises(LowrankError, match="^here: x: "):
        checked(schema, {"x": value}, "here")
