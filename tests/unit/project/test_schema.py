"""Defaults of a schema, at every depth. Messages are tested in test_configuration."""

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
