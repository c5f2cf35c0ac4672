"""Count, list and sample the decomposition design space (thesis, Section 3.1).

Every γ of the space has an index: 0 is the dense model, and the others are numbered by layers,
then tensors, then pruned rank. Counting, listing and sampling all follow from that numbering, so
a space of 2^100 configurations costs no more than one of 100.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from lowrank.base.errors import LowrankError
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from lowrank.space.methods import METHODS


def largest_uniform_rank(architecture: Architecture) -> int:
    """Return the largest pruned rank that is valid for every decomposable tensor.

    A γ has one pruned rank for all its tensors, and Proposition 3.1 names the smallest dimension
    of a weight matrix as the bound. With grouped-query attention that is the height of W_K and
    W_V: 1024 for Llama-2-70B, whose hidden size is 8192. A γ that leaves those two dense could
    keep a larger rank; Theorem 3.1 does not count it, and neither do we.
    """
    return min(architecture.rank(tensor) for tensor in architecture.tensors)


def space_size(layers: int, tensors: int, rank: int) -> int:
    """Return |S| = (2^layers − 1)(2^tensors − 1) · rank + 1 (Theorem 3.1), exactly.

    Parameters
    ----------
    layers, tensors
        Number of layers and of decomposable tensors in each.
    rank
        Number of pruned ranks to choose from; see :func:`largest_uniform_rank`.
    """
    return ((1 << layers) - 1) * ((1 << tensors) - 1) * rank + 1


def design_space_size(architecture: Architecture) -> int:
    """Return the exact number of decomposition configurations of a model (Theorem 3.1).

    The dense model counts once. Ranks run from 1 to :func:`largest_uniform_rank`.
    """
    return space_size(
        architecture.layers, len(architecture.tensors), largest_uniform_rank(architecture)
    )


def scale_exponent(layers: int, tensors: int) -> int:
    """Return the exponent of the scale that Table 3.1 prints, O(2^(layers + tensors)).

    The scale leaves the choice of the pruned rank out.
    """
    return layers + tensors


def decomposition_at(
    architecture: Architecture, index: int, method: str = "tucker"
) -> Decomposition:
    """Return the γ of an index.

    Parameters
    ----------
    architecture
        The model.
    index
        0 for the dense model, else 1 … :func:`design_space_size` − 1. The pruned rank counts
        fastest, then the set of tensors, then the set of layers; a set is the binary number whose
        lowest digit stands for its first member.
    method
        A method of single tensors, key of `lowrank.space.methods.METHODS`.

    Raises
    ------
    LowrankError
        If the index is outside the space, or the method has no ranks or is unknown.
    """
    size = design_space_size(architecture)
    if not 0 <= index < size:
        raise LowrankError(f"index {index} is outside the design space of {size} configurations")
    if method in METHODS and METHODS[method].scope == "layer":
        raise LowrankError(f"method {method!r} works on whole layers: it has no design space")
    if index == 0:
        return Decomposition.make(architecture, [], method=method)
    rest, rank = divmod(index - 1, largest_uniform_rank(architecture))
    layers, tensors = divmod(rest, (1 << len(architecture.tensors)) - 1)
    return Decomposition.make(
        architecture,
        _members(range(1, architecture.layers + 1), layers + 1),
        _members(architecture.tensors, tensors + 1),
        rank + 1,
        method,
    )


def enumerate_decompositions(
    architecture: Architecture, method: str = "tucker"
) -> Iterator[Decomposition]:
    """Yield every γ of the design space once, the dense model first, in the order of the index.

    Lazy: the first thousand of Llama-2-7B's 2^51 are there at once.
    """
    index, size = 0, design_space_size(architecture)
    while index < size:  # a range of this length has no iterator in C
        yield decomposition_at(architecture, index, method)
        index += 1


def sample_decompositions(
    architecture: Architecture,
    count: int,
    seed: int,
    distinct: bool = False,
    method: str = "tucker",
) -> list[Decomposition]:
    """Draw configurations uniformly from the whole design space, the dense model included.

    Parameters
    ----------
    architecture
        The model.
    count
        How many to draw.
    seed
        Equal seeds give equal samples.
    distinct
        Whether to draw without replacement.
    method
        Key of `lowrank.space.methods.METHODS`.

    Raises
    ------
    LowrankError
        If the count is negative, or more distinct configurations are asked for than there are.
    """
    size = design_space_size(architecture)
    if count < 0 or (distinct and count > size):
        wanted = "distinct " if distinct else ""
        raise LowrankError(f"cannot draw {count} {wanted}configurations from {size}")
    generator = random.Random(seed)
    if distinct:
        indices = _distinct_indices(generator, size, count)
    else:
        indices = [generator.randrange(size) for _ in range(count)]
    return [decomposition_at(architecture, index, method) for index in indices]


def _distinct_indices(generator: random.Random, size: int, count: int) -> list[int]:
    """Draw without replacement from a range of any length, which `random.sample` cannot.

    Robert Floyd's algorithm (Bentley, *Programming Pearls: a sample of brilliance*, 1987): time
    and memory grow with the sample alone.
    """
    chosen: dict[int, None] = {}
    for last in range(size - count, size):
        drawn = generator.randrange(last + 1)
        chosen[last if drawn in chosen else drawn] = None
    indices = list(chosen)
    generator.shuffle(indices)  # late positions favour large indices
    return indices


def _members(items: Sequence, mask: int) -> list:
    return [item for position, item in enumerate(items) if mask >> position & 1]
