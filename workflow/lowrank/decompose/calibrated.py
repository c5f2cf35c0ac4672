"""Factorizations that read what goes into a module: one operator with switches, and ASVD.

The outputs y = W x of a module on a calibration set have a moment, E[y yᵀ]. Its leading
eigenvectors U_r give the factors U_r and U_rᵀ W: of all matrices of rank r, their product has the
least mean squared error of the outputs (SVD-LLM, arXiv 2403.07378, appendix A.5). LoRD (arXiv
2309.14021, atomic feature mimicking) and LLM-ROM (arXiv 2312.07046) take the covariance instead.
LoRD adds what the factors leave of the mean output as a bias.

Moments are in double precision. Nothing is inverted, so inputs that span no more than a part of
their space do no harm.

Shape suffixes: ``O`` outputs, ``I`` inputs, ``R`` rank, ``K`` the smaller of outputs and inputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.linalg

from lowrank.decompose.moments import Moments
from lowrank.decompose.svd import Factors, fixed_signs

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALPHA = 0.5
"""The power of the mean magnitude in ASVD (arXiv 2312.05821; its code's default)."""

FLOOR = 1e-6
"""What ASVD's code adds to the scale of a column."""


def principal_outputs(
    weight_OI: NDArray[np.floating], rank: int, device: str, inputs: Moments
) -> Factors:
    """Return the factors of least mean squared error of the outputs (SVD-LLM, DRONE).

    SVD-LLM's whitening by a Cholesky factor and its second version's two decompositions give the
    same product.

    Parameters
    ----------
    weight_OI
        The weight, (out × in).
    rank
        How many columns, 1 … min(out, in).
    device
        Where to multiply and decompose.
    inputs
        The moments of what goes in.
    """
    return _principal(weight_OI, rank, device, inputs, is_centred=False, has_bias=False)


def principal_features(
    weight_OI: NDArray[np.floating], rank: int, device: str, inputs: Moments
) -> Factors:
    """Return the best affine fit of the outputs: centred, with a bias (LoRD).

    The parameters are those of `principal_outputs`.
    """
    return _principal(weight_OI, rank, device, inputs, is_centred=True, has_bias=True)


def centred_principal_outputs(
    weight_OI: NDArray[np.floating], rank: int, device: str, inputs: Moments
) -> Factors:
    """Return the factors of the outputs' covariance, without a bias (LLM-ROM).

    What the columns do not span of the mean output is lost. The parameters are those of
    `principal_outputs`.
    """
    return _principal(weight_OI, rank, device, inputs, is_centred=True, has_bias=False)


def activation_scaled_svd(
    weight_OI: NDArray[np.floating], rank: int, device: str, inputs: Moments
) -> Factors:
    """Return the truncated SVD of the weight with its columns scaled (ASVD, arXiv 2312.05821).

    The scale of a column is the mean magnitude of its input to the power of 0.5. The
    decomposition is exact, where the authors' code approximates it. The norm is that of the scaled
    weight. The parameters are those of `principal_outputs`.
    """
    weight = np.asarray(weight_OI, dtype=np.float64)
    scale_I = inputs.mean_magnitude_I**ALPHA + FLOOR
    left, values, right = _thin_svd(weight * scale_I, device)
    left, right = fixed_signs(left[:, :rank], right[:rank])
    return Factors(
        left,
        values[:rank].copy(),
        right / scale_I,
        np.square(values[:rank]),
        float(np.square(values).sum()),
    )


def _principal(
    weight_OI: NDArray[np.floating],
    rank: int,
    device: str,
    inputs: Moments,
    is_centred: bool,
    has_bias: bool,
) -> Factors:
    """Return the operator's factors; see the module."""
    weight = np.asarray(weight_OI, dtype=np.float64)
    moment_II = inputs.covariance() if is_centred else inputs.second_moment_II
    left, energies = _leading(weight, moment_II, rank, device)
    (left,) = fixed_signs(left)
    total = float(np.einsum("oi,oi->", weight @ moment_II, weight))
    return Factors(
        left,
        np.ones(rank),
        left.T @ weight,
        energies,
        max(total, 0.0),
        mean_O=weight @ inputs.mean_I if has_bias else None,
    )


def _leading(
    weight_OI: NDArray[np.float64], moment_II: NDArray[np.float64], rank: int, device: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the leading eigenvectors of W S Wᵀ and their eigenvalues, descending.

    Where there are more outputs than inputs, the outputs span no more than the image of W: a basis
    of that is enough, so that no matrix is larger than (in × in).
    """
    basis = None
    if weight_OI.shape[0] > weight_OI.shape[1]:
        basis, weight_OI = np.linalg.qr(weight_OI)
    values, vectors = _eigh(weight_OI @ moment_II @ weight_OI.T, device)
    values, vectors = values[::-1][:rank], vectors[:, ::-1][:, :rank]
    left = vectors if basis is None else basis @ vectors
    return np.ascontiguousarray(left), np.maximum(values, 0.0)


def _eigh(matrix: NDArray[np.float64], device: str) -> tuple[Any, Any]:
    symmetric = (matrix + matrix.T) / 2
    if device == "cpu":
        return scipy.linalg.eigh(symmetric, overwrite_a=True, check_finite=True)
    import torch

    values, vectors = torch.linalg.eigh(torch.from_numpy(symmetric).to(device))
    return values.cpu().numpy(), vectors.cpu().numpy()


def _thin_svd(matrix: NDArray[np.float64], device: str) -> tuple[Any, Any, Any]:
    if device == "cpu":
        return scipy.linalg.svd(matrix, full_matrices=False)
    import torch

    parts = torch.linalg.svd(torch.from_numpy(matrix).to(device), full_matrices=False)
    return tuple(part.cpu().numpy() for part in parts)  # type: ignore[return-value]
