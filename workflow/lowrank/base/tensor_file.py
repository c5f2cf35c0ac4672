"""Files of arrays with a description: equal content is equal bytes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lowrank.base.errors import LowrankError

if TYPE_CHECKING:
    from numpy.typing import NDArray

DESCRIPTION = "lowrank"
"""The one key of a file's header. Safetensors writes several in a random order."""


def write_tensors(
    path: str | Path, arrays: Mapping[str, NDArray], description: Mapping[str, Any]
) -> None:
    """Write arrays and what they are as a safetensors file.

    Parameters
    ----------
    path
        The file to write; it is not written atomically.
    arrays
        From names to arrays. Their order does not matter.
    description
        Plain values, as JSON has them. The order of their keys does not matter.
    """
    text = json.dumps(description, sort_keys=True, allow_nan=False)
    save_file(dict(arrays), path, metadata={DESCRIPTION: text})


def read_description(opened: Any) -> dict[str, Any]:
    """Return what `write_tensors` was told of a file that `safetensors.safe_open` opened.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the file has no such description.
    """
    return json.loads(opened.metadata()[DESCRIPTION])


@contextlib.contextmanager
def described(path: str | Path, kind: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Open a file that `write_tensors` wrote, for the block; yield it and its description.

    Parameters
    ----------
    path
        The file.
    kind
        What messages call it, such as `file of moments`.

    Raises
    ------
    LowrankError
        If the file is missing or damaged, or the block finds that it holds something else: whatever
        it raises of a `KeyError`, `TypeError` or `ValueError` is about the file.
    """
    try:
        with safe_open(Path(path), framework="np") as opened:
            yield opened, read_description(opened)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise LowrankError(
            f"{path} is not a readable {kind} ({error}): delete it and run again"
        ) from None
