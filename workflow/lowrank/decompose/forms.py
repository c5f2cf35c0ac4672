"""How a product of factors is stored: as a pair of factors, or as rows and combinations of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg

from lowrank.decompose.layer_factors import Cut
from lowrank.space.methods import PIVOTED

if TYPE_CHECKING:
    from numpy.typing import NDArray


def stored(cut: Cut, form: str, has_core: bool) -> dict[str, NDArray]:
    """Return the arrays that stand for a product of factors.

    Parameters
    ----------
    cut
        The factors.
    form
        One of `lowrank.space.methods.FORMS`.
    has_core
        Whether a pair keeps its scales as a core.

    Returns
    -------
    `left` (out × rank) and `right` (rank × in), with `core` (rank × rank) if there is one; or what
    `pivoted` returns. `shift` (out) is there where the bias changes.
    """
    if form == PIVOTED:
        arrays = pivoted(cut.left_OR, cut.scales_R[:, None] * cut.right_RI)
    elif has_core:
        core = np.diag(cut.scales_R)
        arrays = {"left": cut.left_OR, "core": core, "right": cut.right_RI}
    else:
        arrays = {"left": cut.left_OR * cut.scales_R, "right": cut.right_RI}
    if cut.shift_O is not None:
        arrays["shift"] = cut.shift_O
    made = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return {
        name: array if name == "order" else array.astype(np.float32) for name, array in made.items()
    }


def pivoted(left_OR: NDArray[np.floating], right_RI: NDArray[np.floating]) -> dict[str, NDArray]:
    """Return a product of factors as some of its rows, and the others as combinations of them.

    The rows are the pivots of a QR decomposition of leftᵀ with column pivoting, which keeps the
    combinations small (PIFA, arXiv 2501.19090, with SciPy's pivots).

    Parameters
    ----------
    left_OR
        Of full column rank, best with orthonormal columns, (out × rank).
    right_RI
        (rank × in).

    Returns
    -------
    `rows` (rank × in), `coefficients` (out − rank × rank), and `order`, (out,): the rows of the
    product that these are, first `rows`, then the others.
    """
    left = np.asarray(left_OR, dtype=np.float64)
    rank = left.shape[1]
    triangle, order = scipy.linalg.qr(left.T, mode="r", pivoting=True)
    mixed = scipy.linalg.solve_triangular(triangle[:, :rank], triangle[:, rank:])
    return {
        "rows": left[order[:rank]] @ np.asarray(right_RI, dtype=np.float64),
        "coefficients": mixed.T,
        "order": order.astype(np.int32),
    }
