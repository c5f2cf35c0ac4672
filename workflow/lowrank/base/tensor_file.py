"""Files of arrays with a description: equal content is equal bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.numpy import save_file

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
