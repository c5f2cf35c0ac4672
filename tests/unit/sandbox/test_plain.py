"""What passes between a program and its judge: plain values, unchanged, and nothing else."""

import os
import threading
from collections import Counter, OrderedDict, defaultdict, namedtuple
from enum import IntEnum

import hypothesis
import pytest
from hypothesis import strategies
from lowrank.sandbox import plain

atoms = strategies.one_of(
    *(strategies.none(), strategies.booleans(), strategies.text(), strategies.binary()),
    *(strategies.integers(), strategies.integers(-(2**400), 2**400)),
    *(strategies.floats(allow_nan=False), strategies.complex_numbers(allow_nan=False)),
    *(strategies.fractions(), strategies.decimals(allow_nan=False)),
)
values = strategies.recursive(
    atoms,
    lambda inner: strategies.one_of(
        strategies.lists(inner),
        strategies.lists(inner).map(tuple),
        strategies.sets(atoms),
        strategies.frozensets(atoms),
        strategies.dictionaries(atoms, inner),
    ),
    max_leaves=20,
)


def kinds(value):
    """A value with the classes of all its parts."""
    if isinstance(value, dict):
        parts = {(kinds(key), kinds(own)) for key, own in value.items()}
        return dict, frozenset(parts)
    if isinstance(value, list | tuple):
        return type(value), tuple(map(kinds, value))
    if isinstance(value, set | frozenset):
        return type(value), frozenset(map(kinds, value))
    return type(value), repr(value)


def passed(value):
    """A value after it went through a pipe."""
    reads, writes = os.pipe()
    sender = threading.Thread(
        target=lambda: (plain.send(writes, {"v": plain.encode(value)}), os.close(writes))
    )
    sender.start()
    try:
        return plain.decode(plain.receive(reads, 1 << 24)["v"])
    finally:
        sender.join()
        os.close(reads)


@hypothesis.given(values)
def test_a_plain_value_arrives_as_it_was(value):
    assert kinds(passed(value)) == kinds(value)


def test_longer_than_a_pipe():
    assert passed(["x" * (1 << 20)]) == ["x" * (1 << 20)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(int, {"a": 1}), {"a": 1}),
        (namedtuple("Pair", "a b")(1, 2), (1, 2)),
        (IntEnum("Color", "RED").RED, 1),
        (type("Text", (str,), {})("x"), "x"),
    ],
)
def test_what_is_built_on_a_plain_value_arrives_as_that(value, expected):
    found = passed(value)
    assert (type(found), found) == (type(expected), expected)


def test_what_says_that_it_equals_everything_does_not():
    for base in (int, float, str, list, tuple, dict, set):
        liar = type("Liar", (base,), {"__eq__": lambda *_: True, "__hash__": None})()
        assert liar == 5 and passed(liar) != 5


@pytest.mark.parametrize("value", [object(), len, range(3), iter([]), type("Other", (), {})()])
def test_what_is_not_plain(value):
    with pytest.raises(plain.NotPlainError):
        plain.encode([value])


@pytest.mark.parametrize(
    "described",
    [
        [],
        ["other", 1],
        {"a": 1},
        ["dict", [1]],
        ["set", ["list"]],
        ["int", "x"],
        ["int"],
        ["bytes", "0"],
        ["Decimal", "x"],
        ["Fraction", "1/0"],
        [["list"], 1],
        ["complex", "x", 1],
    ],
)
def test_descriptions_that_are_none(described):
    with pytest.raises(plain.NotPlainError):
        plain.decode(described)


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"", plain.EndedError),
        (b"\0\0", plain.EndedError),
        (b"\0\0\0\x05ab", plain.EndedError),
        (b"\0\0\0\x02[]", plain.NotPlainError),
        (b"\0\0\0\x02{]", plain.NotPlainError),
        (b"\0\0\0\x02\xff\xff", plain.NotPlainError),
        (b"\0\0\x10\0" + b"[" * 4096, plain.NotPlainError),
        (b"\0\1\0\0", plain.TooLongError),
        (b"\0\0\x11\0" + b"1" * 0x1100, plain.NotPlainError),
    ],
)
def test_messages_that_are_none(sent, error):
    reads, writes = os.pipe()
    os.write(writes, sent)
    os.close(writes)
    try:
        with pytest.raises(error):
            plain.receive(reads, 1 << 15)
    finally:
        os.close(reads)
