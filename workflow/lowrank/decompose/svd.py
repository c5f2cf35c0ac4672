"""Factorization of one weight matrix.

A second-order Tucker decomposition W ≈ U¹ Γ U² (thesis, Section 2.3) is the best approximation of
its rank, hence the truncated singular value decomposition in another basis (Eckart and Young,
1936). `truncated_svd` computes just the leading singular triplets and is what the workflow runs;
`higher_order_orthogonal_iteration` is the thesis's Algorithm 1 as tensorly has it, kept as the
reference that the tests hold the fast path against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg
import scipy.sparse.linalg

if TYPE_CHECKING:
    from numpy.typing import NDArray

LANCZOS_FRACTION = 0.02
"""Up to this fraction of the full rank, Lanczos beats an eigendecomposition of the Gram matrix."""


@dataclass(frozen=True)
class Factors:
    """A factorization W ≈ left · diag(scales) · right, ordered so that it can be cut.

    The first r columns, scales and rows are the best factorization of rank r in the norm of the
    method, for every r up to the one computed. A singular value decomposition has the Frobenius
    norm of the weight. A calibrated method has that of the outputs.

    Attributes
    ----------
    left_OR
        Orthonormal columns, (out × rank), float64.
    scales_R
        The singular values, (rank,), float64; a method that has none folds them into `right`, and
        these are 1.
    right_RI
        The rows, (rank × in), float64; orthonormal in a singular value decomposition.
    energies_R
        What each term adds to the squared norm, descending, (rank,), float64.
    squared_norm
        The squared norm of the whole, so that the error of any cut is known.
    mean_O
        The mean output without the module's own bias, (out,), of a method that adds a bias: what
        the columns leave of it is added at every rank. None for others.
    """

    left_OR: NDArray[np.float64]
    scales_R: NDArray[np.float64]
    right_RI: NDArray[np.float64]
    energies_R: NDArray[np.float64]
    squared_norm: float
    mean_O: NDArray[np.float64] | None = None

    def relative_error(self, rank: int) -> float:
        """Return the relative error of the cut at `rank`, in the norm of the method."""
        return relative_error(self.energies_R, self.squared_norm, rank)


def relative_error(energies_R: NDArray[np.float64], squared_norm: float, rank: int) -> float:
    """Return the relative error of a cut: what the energies that are kept leave over."""
    if squared_norm == 0.0:
        return 0.0
    kept = float(np.sum(energies_R[:rank], dtype=np.float64))
    return float(np.sqrt(max(squared_norm - kept, 0.0) / squared_norm))


def truncated_svd(weight_OI: NDArray[np.floating], rank: int, device: str = "cpu") -> Factors:
    """Return the leading `rank` singular triplets of a weight, in double precision.

    A few triplets come from Lanczos bidiagonalisation (ARPACK) with a fixed start vector; more
    come from an eigendecomposition of the smaller Gram matrix, whose reconstruction error exceeds
    the optimum by no more than rounding. Signs are fixed, so that equal input gives equal output.

    Parameters
    ----------
    weight_OI
        The weight, (out × in).
    rank
        How many triplets, 1 … min(out, in).
    device
        `cpu`, or a CUDA device for the Gram matrix and its eigendecomposition.

    Raises
    ------
    ValueError
        If the rank is out of range or the weight is not finite.
    """
    weight_OI = np.asarray(weight_OI, dtype=np.float64)
    full = min(weight_OI.shape)
    if not 1 <= rank <= full:
        raise ValueError(f"rank {rank} is outside 1…{full}")
    if not np.isfinite(weight_OI).all():
        raise ValueError("the weight holds values that are not finite")
    squared_norm = float(np.sum(np.square(weight_OI)))
    if squared_norm == 0.0:
        return _zero_factors(weight_OI.shape, rank)
    if rank <= LANCZOS_FRACTION * full:
        start = np.random.default_rng(0).standard_normal(full)
        left, values, right = scipy.sparse.linalg.svds(weight_OI, k=rank, v0=start, tol=0)
        left, values, right = left[:, ::-1], values[::-1], right[::-1]
    elif device == "cpu":
        left, values, right = _gram_svd(weight_OI, rank)
    else:
        left, values, right = _gram_svd_cuda(weight_OI, rank, device)
    return _decomposed(left, values, right, squared_norm)


def higher_order_orthogonal_iteration(
    weight_OI: NDArray[np.floating], rank: int, device: str = "cpu"
) -> Factors:
    """Return a Tucker decomposition by HOI (thesis, Algorithm 1; De Lathauwer et al., 2000).

    The reference method: tensorly's `tucker`, which takes full singular value decompositions and
    is two orders of magnitude slower. Its core is rotated to a diagonal, which changes neither
    the product nor the error, so that the factors can be cut like the others. `device` is unused.
    """
    import tensorly
    from tensorly.decomposition import tucker

    weight_OI = np.asarray(weight_OI, dtype=np.float64)
    with tensorly.backend_context("numpy"):
        core_RR, (left_OR, right_IR) = tucker(
            weight_OI, rank=[rank, rank], init="svd", svd="truncated_svd"
        )
    rotation_left, values, rotation_right = np.linalg.svd(core_RR)
    squared_norm = float(np.sum(np.square(weight_OI)))
    return _decomposed(left_OR @ rotation_left, values, rotation_right @ right_IR.T, squared_norm)


def _gram_svd(
    weight_OI: NDArray[np.float64], rank: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    tall = weight_OI.shape[0] >= weight_OI.shape[1]
    matrix = weight_OI if tall else weight_OI.T
    size = matrix.shape[1]
    _, basis = scipy.linalg.eigh(
        matrix.T @ matrix, subset_by_index=[size - rank, size - 1], overwrite_a=True
    )
    basis = basis[:, ::-1]
    projected = matrix @ basis
    # The Gram matrix squares the condition number; a small SVD of the projection gives back
    # orthonormal factors and accurate singular values at the cost of one QR.
    orthogonal, triangular = np.linalg.qr(projected)
    left_small, values, right_small = np.linalg.svd(triangular)
    left, right = orthogonal @ left_small, right_small @ basis.T
    return (left, values, right) if tall else (right.T, values, left.T)


def _gram_svd_cuda(
    weight_OI: NDArray[np.float64], rank: int, device: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    import torch

    weight = torch.from_numpy(weight_OI).to(device)
    tall = weight.shape[0] >= weight.shape[1]
    matrix = weight if tall else weight.T
    _, basis = torch.linalg.eigh(matrix.T @ matrix)
    basis = basis[:, -rank:].flip(1)
    orthogonal, triangular = torch.linalg.qr(matrix @ basis)
    left_small, values, right_small = torch.linalg.svd(triangular)
    left, right = orthogonal @ left_small, right_small @ basis.T
    left, right = (left, right) if tall else (right.T, left.T)
    return left.cpu().numpy(), values.cpu().numpy(), right.cpu().numpy()


def fixed_signs(
    left_OR: NDArray[np.float64], *rights_RI: NDArray[np.float64]
) -> tuple[NDArray[np.float64], ...]:
    """Make the largest entry of each left vector positive: a singular pair's sign is free.

    Parameters
    ----------
    left_OR
        The left vectors, as columns.
    *rights_RI
        Their partners, as rows, which change their signs with them.
    """
    largest = np.argmax(np.abs(left_OR), axis=0)
    signs_R = np.where(left_OR[largest, np.arange(left_OR.shape[1])] < 0, -1.0, 1.0)
    turned = [left_OR * signs_R, *(right_RI * signs_R[:, None] for right_RI in rights_RI)]
    return tuple(np.ascontiguousarray(own) for own in turned)


def _decomposed(
    left: NDArray[np.float64],
    values: NDArray[np.float64],
    right: NDArray[np.float64],
    squared_norm: float,
) -> Factors:
    left, right = fixed_signs(left, right)
    return Factors(left, np.ascontiguousarray(values), right, np.square(values), squared_norm)


def _zero_factors(shape: tuple[int, ...], rank: int) -> Factors:
    left, right = np.eye(shape[0], rank), np.eye(rank, shape[1])
    return Factors(left, np.zeros(rank), right, np.zeros(rank), 0.0)
