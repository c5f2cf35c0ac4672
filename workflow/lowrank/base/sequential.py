"""Looks at growing data: bounds that hold however often one looks, as planned (O'Brien–Fleming).

Who looks at the same number again and again as data grow, and stops once it is far enough out, errs
more often than one who looks once. A group-sequential plan fixes the looks beforehand and widens
the bound of each, so that all looks together err as often as one (O'Brien and Fleming, 1979;
Jennison and Turnbull, 2000).

Shape suffixes: ``K`` looks, ``N`` nodes of integration.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import scipy.optimize
import scipy.stats


def critical_values(fractions: Sequence[float], confidence: float = 0.95) -> np.ndarray:
    """Return how many standard errors from the truth an estimate may lie at each look, (K,).

    Without an effect, an estimate lies further out at one look or more with a probability of
    1 − confidence. The bound of a look at the share t of the data is C / √t.

    Parameters
    ----------
    fractions
        Which share of the planned data each look has, ascending up to 1. Looks of equal shares
        are one look.
    confidence
        That of all looks together, two-sided.

    Raises
    ------
    ValueError
        If the shares are not ascending within (0, 1], or the last one is not 1.
    """
    shares = tuple(float(share) for share in fractions)
    if not shares or shares[0] <= 0 or shares[-1] != 1 or list(shares) != sorted(shares):
        raise ValueError(f"shares of the data must ascend to 1, these do not: {shares}")
    return _constant(tuple(dict.fromkeys(shares)), float(confidence)) / np.sqrt(shares)


def stretch(confidence: float, fractions: Sequence[float], look: int) -> float:
    """Return by how much a repeated confidence interval is wider than the one of a single look.

    The intervals of all looks hold the truth together, with the given confidence (Jennison and
    Turnbull, 1989). They do so whether or not one stops, and for whatever reason.

    Parameters
    ----------
    confidence
        That of the single interval, and of all looks together.
    fractions
        See `critical_values`.
    look
        Which look, from 1.
    """
    fixed = scipy.stats.norm.ppf((1 + confidence) / 2)
    return float(critical_values(fractions, confidence)[look - 1] / fixed)


def inflation(fractions: Sequence[float], power: float = 0.9, confidence: float = 0.95) -> float:
    """Return how many times the data of a single look a plan needs at most for the same power.

    Parameters
    ----------
    fractions
        See `critical_values`.
    power
        The probability of finding the effect that the data are planned for.
    confidence
        See `critical_values`.
    """
    shares_K = np.unique(np.asarray(fractions, dtype=float))
    bound = _constant(tuple(shares_K), float(confidence))
    single = scipy.stats.norm.ppf((1 + confidence) / 2) + scipy.stats.norm.ppf(power)

    def missing(drift: float) -> float:
        return _crossing(shares_K, bound, drift) - power

    return float((scipy.optimize.brentq(missing, single / 2, 4 * single) / single) ** 2)


@functools.cache
def _constant(fractions: tuple[float, ...], confidence: float) -> float:
    """Return C, the bound at the last look."""
    level = 1 - confidence
    shares_K = np.asarray(fractions)
    single = scipy.stats.norm.ppf(1 - level / 2)
    if len(shares_K) == 1:
        return float(single)
    # At most as wide as if every look had a level of its own, level / K (Bonferroni).
    widest = scipy.stats.norm.ppf(1 - level / 2 / len(shares_K))
    return float(
        scipy.optimize.brentq(
            lambda bound: _crossing(shares_K, bound) - level,
            0.99 * single,
            1.01 * widest,
            xtol=1e-8,
        )
    )


def _crossing(fractions_K: np.ndarray, bound: float, drift: float = 0.0) -> float:
    """Return how likely a Brownian motion lies outside ±bound at one of the looks or more.

    The density of what has stayed inside is carried from look to look by numerical integration
    (Armitage, McPherson and Rowe, 1969), with Gauss and Legendre's nodes, a few to each step's
    deviation.

    Parameters
    ----------
    fractions_K
        The times of the looks, ascending.
    bound
        The same at each: in standard errors at a time t it is bound / √t.
    drift
        Expected value at time 1.
    """
    steps_K = np.diff(fractions_K, prepend=0.0)
    deviations_K = np.sqrt(steps_K)
    nodes = int(np.clip(8 * bound / deviations_K.min(), 64, 2000))
    place_N, weight_N = np.polynomial.legendre.leggauss(nodes)
    place_N, weight_N = bound * place_N, bound * weight_N
    density_N = scipy.stats.norm.pdf(place_N, drift * steps_K[0], deviations_K[0])
    for step, deviation in zip(steps_K[1:], deviations_K[1:], strict=True):
        moved_NN = place_N[:, None] - place_N[None, :] - drift * step
        kernel_NN = scipy.stats.norm.pdf(moved_NN, scale=deviation)
        density_N = kernel_NN @ (weight_N * density_N)
    return 1.0 - float(weight_N @ density_N)
