"""Saliences of what goes into modules of a layer, and their file.

The salience of an input x is Σ x · dL/dx over the tokens of a calibration set. L is the mean loss
of all its predictions of a next token. If the input were zero, L would change by minus this, to
first order (Molchanov et al., arXiv 1611.06440).

Shape suffix: ``I`` inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lowrank.base.errors import LowrankError
from lowrank.base.tensor_file import described, write_tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray


def write_saliences(
    path: str | Path, saliences: Mapping[str, NDArray[np.float64]], layer: int
) -> None:
    """Write the saliences of a layer's inputs as one file.

    Parameters
    ----------
    path
        The file to write; it is not written atomically.
    saliences
        From tensors to the saliences of what each reads, (I,), in units of the loss (nats).
    layer
        The layer, from 1.

    Raises
    ------
    LowrankError
        If one is not finite.
    """
    for tensor, salience_I in saliences.items():
        if not np.isfinite(salience_I).all():
            raise LowrankError(
                f"the calibration set leaves no finite gradients at layer {layer}, tensor {tensor}"
            )
    write_tensors(path, saliences, {"layer": layer})


def read_salience(path: str | Path, layer: int, tensor: str) -> NDArray[np.float64]:
    """Return the saliences of what one tensor reads, (I,), in units of the loss (nats).

    Raises
    ------
    LowrankError
        If the file is missing or damaged, or holds another layer.
    """
    with described(path, "file of saliences") as (opened, header):
        if header["layer"] != layer:
            raise ValueError(f"it holds layer {header['layer']}, not {layer}")
        return opened.get_tensor(tensor)
