"""pass@k: how likely one of k programs that a model writes for a problem passes its tests."""

from __future__ import annotations

import numpy as np

from lowrank.base.errors import LowrankError


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Return the unbiased estimate from more programs than k: 1 − C(n − c, k) / C(n, k).

    It is the share of the choices of k programs of the n that hold one which passed. The product of
    Chen et al. (2021, arXiv 2107.03374, section 2.1) has no large numbers in it.

    Parameters
    ----------
    samples
        n, the programs of a problem.
    passed
        c, those of them that passed.
    k
        How many are chosen.

    Raises
    ------
    LowrankError
        If there are fewer than k programs, or more passed than there are.
    """
    if not 0 <= passed <= samples or not 1 <= k <= samples:
        raise LowrankError(
            f"pass@{k} of {samples} programs, {passed} of which passed, is not known"
        )
    if samples - passed < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(samples - passed + 1, samples + 1)))
