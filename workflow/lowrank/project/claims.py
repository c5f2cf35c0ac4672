"""Tests of claims that differ in a word are written once, with `for`, and spelled out here."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lowrank.base.errors import LowrankError, suggestion

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def expand_tests(
    tests: Sequence[Mapping[str, Any]], label_of: Callable[[str], str], where: str
) -> list[dict[str, Any]]:
    """Return the tests of a claim, each `for` as one test for every combination of its values.

    ``for: {layers: [one layer, all layers], tensor: [Q, K, V]}`` makes six tests: the first name
    changes slowest. In any text of the test

    - ``{tensor}`` is the value,
    - ``{tensor.others}`` are the other values of its list: joined by "and" within a text, and as
      items of their own where it is a whole item of a list,
    - ``{benchmark.label}`` is the label that the registry has for a benchmark.

    A list of lists holds groups: its values are those of the groups, one group after the other,
    and the others of a value are those of its own group.

    Parameters
    ----------
    tests
        The tests as `config/claims.yaml` has them.
    label_of
        From a benchmark's name to its label.
    where
        Where the tests stand, for messages.

    Raises
    ------
    LowrankError
        If a placeholder has no value, or two tests say the same.
    """
    made: dict[str, dict[str, Any]] = {}
    for index, test in enumerate(tests):
        body = {key: value for key, value in test.items() if key != "for"}
        try:
            combinations = list(_combinations(test.get("for", {}), label_of))
        except LowrankError as error:
            raise LowrankError(f"{where}.{index}.for: {error}") from None
        for values in combinations:
            for key, name in _placeholders(body):
                if name not in values:
                    raise LowrankError(
                        f"{where}.{index}.{key}: {{{name}}} has no value in `for`"
                        f"{suggestion(name, values)}"
                    )
            own = _filled(body, values)
            if own["says"] in made:
                raise LowrankError(
                    f"{where}.{index}: two tests say {own['says']!r}; name in `says` what differs"
                )
            made[own["says"]] = own
    return list(made.values())


def _combinations(
    lists: Mapping[str, Sequence[Any]], label_of: Callable[[str], str]
) -> Iterator[dict[str, str | list[str]]]:
    """Yield what stands for every placeholder, once for each combination of the values."""
    alternatives = []
    for name, listed in lists.items():
        groups = [[str(value) for value in group] for group in _groups(listed)]
        is_benchmark = name == "benchmark"
        labels = {value: label_of(value) for group in groups for value in group if is_benchmark}
        shared = [label for label, count in Counter(labels.values()).items() if count > 1]
        every = []
        for group in groups:
            for value in group:
                own = {name: value, f"{name}.others": [other for other in group if other != value]}
                if is_benchmark:
                    label = labels[value]
                    own[f"{name}.label"] = f"{label} ({value})" if label in shared else label
                every.append(own)
        alternatives.append(every)
    for chosen in itertools.product(*alternatives):
        yield {name: value for own in chosen for name, value in own.items()}


def _groups(listed: Sequence[Any]) -> Sequence[Sequence[Any]]:
    return listed if isinstance(listed[0], list) else [listed]


def _placeholders(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield where a placeholder stands and its name."""
    if isinstance(value, str):
        for name in _PLACEHOLDER.findall(value):
            yield place, name
    elif isinstance(value, Mapping | list):
        for key, part in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _placeholders(part, f"{place}.{key}" if place else str(key))


def _filled(value: Any, values: Mapping[str, str | list[str]]) -> Any:
    """Return a value with all placeholders in its texts replaced."""
    if isinstance(value, str):

        def text(match: re.Match[str]) -> str:
            found = values[match[1]]
            return found if isinstance(found, str) else " and ".join(found)

        return _PLACEHOLDER.sub(text, value)
    if isinstance(value, Mapping):
        return {key: _filled(part, values) for key, part in value.items()}
    if isinstance(value, list):
        made = []
        for part in value:
            whole = isinstance(part, str) and _PLACEHOLDER.fullmatch(part)
            found = values[whole[1]] if whole else _filled(part, values)
            made += found if whole and isinstance(found, list) else [found]
        return made
    return value
