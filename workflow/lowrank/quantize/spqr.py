"""Few bits in small groups, and what does not fit into them kept: like SpQR (arXiv 2306.03078).

The numbers are SpQR's, but not its speed: the weight is a floating-point one again before it is
used, and its bytes are those of the arrays that stand for it. It follows `spqr_engine.py` of the
authors' code. A group is 16 weights of a row, with a scale and a zero of its own. These statistics
have 3 bits, too, in groups of 16 rows. A weight is an outlier if its group is better fitted without
it, or if its own error is large. It is kept in 16 bits, with the number of its column.

What differs: columns stay in order; a group of statistics keeps its least value instead of a zero;
the range of a group of equal weights goes to zero; the zeros that pad a factor are not stored.
Without moments of the inputs, these are taken for uncorrelated and alike, and no error is fed back.

Shape suffixes: ``O`` outputs, ``I`` inputs, ``G`` groups of a row, ``K`` weights of a group, ``S``
groups of statistics, ``E`` outliers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lowrank.base.errors import LowrankError
from lowrank.quantize.bits import pack, unpack
from lowrank.quantize.entry import Quantization

TINY = 1e-12
MOST_COLUMNS = 2**16
DAMPING = 1.0
"""Of the mean of the moments' diagonal, what is added to it: the setting of SpQR's README."""


def encode(
    weight_OI: Tensor, how: Quantization, second_moment_II: Tensor | None = None
) -> dict[str, Tensor]:
    """Return what a weight is stored as, on the CPU.

    Parameters
    ----------
    weight_OI
        (out × in).
    how
        A quantization by this method.
    second_moment_II
        E[x xᵀ] of its inputs, (in × in). With it, columns are rounded one after another, and the
        error of each is fed back to those that come (GPTQ, arXiv 2210.17323).

    Returns
    -------
    `codes` of all groups, and `scale_codes` and `zero_codes`, each without a gap between numbers;
    `scale_range` and `zero_range`, (groups of statistics × 2), step and least, of 16 bits;
    `outlier_rows` (out + 1), where each row starts, `outlier_columns` and `outlier_values`;
    `size`, the rows and columns before the zeros that pad.

    Raises
    ------
    LowrankError
        If there are more columns than 16 bits can number.
    """
    whole_OI = weight_OI.detach().float()
    rows, columns = _size(whole_OI)
    if columns > MOST_COLUMNS:
        raise LowrankError(f"{columns} columns are more than {MOST_COLUMNS}: use another method")
    weight_OI = whole_OI[:rows, :columns].clone()
    root_II = _error_root(second_moment_II, columns, weight_OI.device)
    diagonal_I = root_II.diagonal()
    threshold = how.outlier_threshold * float(
        (weight_OI.var(dim=0, correction=min(1, rows - 1)) / diagonal_I.square()).mean()
    )
    kept = torch.zeros_like(weight_OI, dtype=torch.bool)
    feeds_back = second_moment_II is not None
    made: dict[str, list[Tensor]] = {name: [] for name in _GROUPED}
    for start in range(0, columns, how.group):
        end = min(start + how.group, columns)
        group_OK, root_KK = weight_OI[:, start:end], root_II[start:end, start:end]
        plain_OK = without_outliers(group_OK, root_KK.diagonal(), how.bits, threshold)
        scale, zero = (_statistics(one_O, how) for one_O in _fit(plain_OK, how.bits))
        scale_O1, zero_O1 = scale.value_O[:, None], zero.value_O[:, None]
        codes_OK = torch.zeros(rows, how.group, dtype=torch.uint8, device=weight_OI.device)
        error_OK = torch.zeros_like(group_OK)
        for first in range(start, end, 1 if feeds_back else how.group):
            last = first + 1 if feeds_back else end
            exact_OJ, place = weight_OI[:, first:last], slice(first - start, last - start)
            code_OJ = _rounded(exact_OJ / scale_O1.clamp_min(TINY) + zero_O1, how.bits)
            off_OJ = (exact_OJ - scale_O1 * (code_OJ - zero_O1)) / diagonal_I[first:last]
            is_kept_OJ = off_OJ.square() > threshold
            codes_OK[:, place], kept[:, first:last] = code_OJ.byte(), is_kept_OJ
            if feeds_back:
                error_OK[:, place] = off_OJ.masked_fill(is_kept_OJ, 0)
                weight_OI[:, last:end] -= error_OK[:, place] @ root_II[first:last, last:end]
        if feeds_back:
            weight_OI[:, end:] -= error_OK @ root_II[start:end, end:]
        grouped = (codes_OK, scale.code_O, scale.range_S2, zero.code_O, zero.range_S2)
        for name, array in zip(_GROUPED, grouped, strict=True):
            made[name].append(array)
    return {
        **_packed({name: torch.stack(parts, 1) for name, parts in made.items()}, how),
        **_outliers(weight_OI, kept),
        "size": torch.tensor([rows, columns], dtype=torch.int32),
    }


_GROUPED = ("codes", "scale_codes", "scale_range", "zero_codes", "zero_range")
"""Arrays of a part for each group of columns, (out or groups of statistics × G × …)."""


def decode(
    arrays: Mapping[str, Tensor], shape: Sequence[int], dtype: torch.dtype, how: Quantization
) -> Tensor:
    """Return the weight, (out × in), that `encode`'s arrays stand for, on the CPU."""
    rows, columns = arrays["size"].tolist()
    groups = math.ceil(columns / how.group)

    def unpacked(name: str, count: int, bits: int) -> Tensor:
        return torch.from_numpy(unpack(arrays[name].numpy(), count, bits)).float()

    codes_OGK = unpacked("codes", rows * groups * how.group, how.bits)
    codes_OGK = codes_OGK.reshape(rows, groups, how.group)
    statistics = []
    for name in ("scale", "zero"):
        code_OG = unpacked(f"{name}_codes", rows * groups, how.statistics_bits)
        range_SG2 = arrays[f"{name}_range"].float()
        range_OG2 = range_SG2.repeat_interleave(how.statistics_group, 0)[:rows]
        value_OG = range_OG2[..., 1] + range_OG2[..., 0] * code_OG.reshape(rows, groups)
        statistics.append(value_OG[..., None])
    scale_OG1, zero_OG1 = statistics
    weight_OI = (scale_OG1 * (codes_OGK - zero_OG1)).reshape(rows, -1)[:, :columns].contiguous()
    counts_O = arrays["outlier_rows"].long().diff()
    row_E = torch.repeat_interleave(torch.arange(rows), counts_O)
    column_E = torch.from_numpy(arrays["outlier_columns"].numpy().astype(np.int64))
    weight_OI[row_E, column_E] = arrays["outlier_values"].float()
    padding = (0, shape[1] - columns, 0, shape[0] - rows)
    return torch.nn.functional.pad(weight_OI, padding).to(dtype)


class _Statistics(NamedTuple):
    value_O: Tensor
    code_O: Tensor
    range_S2: Tensor


def _statistics(value_O: Tensor, how: Quantization) -> _Statistics:
    """Round a statistic of each row; a last group that is not full repeats its last row."""
    missing = -len(value_O) % how.statistics_group
    full = torch.cat([value_O, value_O[-1:].expand(missing)]).reshape(-1, how.statistics_group)
    low_S1, high_S1 = full.amin(1, keepdim=True), full.amax(1, keepdim=True)
    steps = 2**how.statistics_bits - 1
    range_S2 = torch.cat([(high_S1 - low_S1) / steps, low_S1], 1).half()
    step_S1, low_S1 = range_S2.float().split(1, dim=1)
    code = _rounded((full - low_S1) / step_S1.clamp_min(TINY), how.statistics_bits)
    value = (low_S1 + step_S1 * code).reshape(-1)[: len(value_O)]
    return _Statistics(value, code.reshape(-1)[: len(value_O)].byte(), range_S2)


def _fit(group: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Return the scale and the zero of groups, which lie along the last axis."""
    low, high = group.amin(-1), group.amax(-1)
    # Equal weights: the range goes to zero, so that both it and they are levels.
    is_flat = low == high
    low = torch.where(is_flat, low.clamp_max(0), low)
    high = torch.where(is_flat, high.clamp_min(0), high)
    high = torch.where(low == high, low + 1, high)
    scale = (high - low) / (2**bits - 1)
    return scale, -low / scale


def _rounded(value: Tensor, bits: int) -> Tensor:
    return value.round().clamp(0, 2**bits - 1)


def _squared_errors(fitted: Tensor, group_OK: Tensor, diagonal_K: Tensor, bits: int) -> Tensor:
    """Return the squared error of each weight in the range of `fitted`, whose groups are rows."""
    scale_O1, zero_O1 = (one[:, None] for one in _fit(fitted, bits))
    made_OK = scale_O1 * (_rounded(group_OK / scale_O1 + zero_O1, bits) - zero_O1)
    return ((made_OK - group_OK) / diagonal_K).square()


def without_outliers(group_OK: Tensor, diagonal_K: Tensor, bits: int, threshold: float) -> Tensor:
    """Return groups with the mean of the others in the place of what spoils their range.

    A weight spoils it if the squared error of the group is less by more than `threshold` where that
    weight is left out. A weight that is neither the least nor the largest changes no range: what it
    spares is its own error.
    """
    size = group_OK.shape[1]
    if size == 1:
        return group_OK
    spared_OK = _squared_errors(group_OK, group_OK, diagonal_K, bits)
    whole_O1 = spared_OK.sum(1, keepdim=True)
    spared_OK = spared_OK.clone()
    for place_O1 in (group_OK.argmin(1, keepdim=True), group_OK.argmax(1, keepdim=True)):
        other_O1 = group_OK.gather(1, (place_O1 + 1) % size)
        rest_OK = group_OK.scatter(1, place_O1, other_O1)
        error_OK = _squared_errors(rest_OK, rest_OK, diagonal_K, bits).scatter(1, place_O1, 0.0)
        spared_OK.scatter_(1, place_O1, whole_O1 - error_OK.sum(1, keepdim=True))
    is_kept_OK = spared_OK > threshold
    count_O1 = (~is_kept_OK).sum(1, keepdim=True).clamp_min(1)
    mean_O1 = group_OK.masked_fill(is_kept_OK, 0).sum(1, keepdim=True) / count_O1
    return torch.where(is_kept_OK, mean_O1, group_OK)


def _error_root(second_moment_II: Tensor | None, columns: int, device: torch.device) -> Tensor:
    """Return the upper Cholesky factor of the inverse of the damped moments."""
    if second_moment_II is None:
        return torch.eye(columns, device=device)
    moment_II = second_moment_II[:columns, :columns].to(device, torch.float64).clone()
    diagonal_I = moment_II.diagonal()
    is_dead_I = diagonal_I == 0
    diagonal_I += DAMPING * diagonal_I.mean()
    diagonal_I[is_dead_I] = 1
    inverse_II = torch.cholesky_inverse(torch.linalg.cholesky(moment_II))
    return torch.linalg.cholesky(inverse_II, upper=True).float()


def _size(weight_OI: Tensor) -> tuple[int, int]:
    """Return how many rows and columns there are before the zeros at the end; at least one."""
    is_used_OI = weight_OI != 0
    rows, columns = (is_used_OI.any(dim).nonzero().flatten() for dim in (1, 0))
    return (int(rows[-1]) + 1, int(columns[-1]) + 1) if len(rows) else (1, 1)


def _packed(arrays: Mapping[str, Tensor], how: Quantization) -> dict[str, Tensor]:
    bits = {"codes": how.bits} | dict.fromkeys(("scale_codes", "zero_codes"), how.statistics_bits)
    return {
        name: torch.from_numpy(pack(array.cpu().numpy(), bits[name]))
        if name in bits
        else array.cpu()
        for name, array in arrays.items()
    }


def _outliers(weight_OI: Tensor, kept_OI: Tensor) -> dict[str, Tensor]:
    """Return the weights that are kept, row after row, as a sparse matrix."""
    starts = np.concatenate([[0], kept_OI.sum(1).cumsum(0).cpu().numpy()]).astype(np.int32)
    columns_E = kept_OI.nonzero()[:, 1].cpu().numpy().astype(np.uint16)
    return {
        "outlier_rows": torch.from_numpy(starts),
        "outlier_columns": torch.from_numpy(columns_E),
        "outlier_values": weight_OI[kept_OI].half().cpu(),
    }
