"""SpQR's groups, statistics and outliers, against their definition."""

import math

import numpy as np
import pytest
import torch
from lowrank.base.errors import LowrankError
from lowrank.quantize.bits import unpack
from lowrank.quantize.entry import Quantization
from lowrank.quantize.spqr import decode, encode, without_outliers

HOW = Quantization(
    "spqr_like", bits=3, group=16, statistics_bits=3, statistics_group=16, outlier_threshold=0.2
)
NO_OUTLIERS = Quantization(
    "spqr_like", bits=3, group=16, statistics_bits=8, statistics_group=16, outlier_threshold=1e9
)


def weight_of(rows, columns, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) / 50


def round_trip(weight, how=HOW, moment=None):
    arrays = encode(weight, how, moment)
    return decode(arrays, weight.shape, torch.float32, how), arrays


def outliers(arrays, shape):
    """Where they are, by hand."""
    made = np.zeros(shape, dtype=bool)
    starts = arrays["outlier_rows"].numpy()
    for row in range(len(starts) - 1):
        made[row, arrays["outlier_columns"].numpy()[starts[row] : starts[row + 1]]] = True
    return torch.from_numpy(made)


@pytest.mark.parametrize(("rows", "columns"), [(32, 48), (33, 50), (1, 5), (40, 1), (7, 200)])
def test_what_is_no_outlier_is_off_by_less_than_the_threshold_and_outliers_are_exact(rows, columns):
    weight = weight_of(rows, columns)
    made, arrays = round_trip(weight)
    kept = outliers(arrays, weight.shape)
    variance = weight.numpy().astype(np.float64).var(axis=0, ddof=min(1, rows - 1)).mean()
    off = (made - weight).double().square()
    assert (off[~kept] <= 0.2 * variance * (1 + 1e-5) + 1e-12).all()
    assert torch.equal(made[kept], weight[kept].half().float())


def test_the_bytes_are_those_of_a_count_by_hand():
    made, arrays = round_trip(weight_of(33, 50))
    kept = int(outliers(arrays, made.shape).sum())
    assert 0 < kept < 33 * 50 / 4
    groups = 33 * 4  # 50 columns are four groups of 16
    counted = {
        "codes": math.ceil(groups * 16 * 3 / 8),
        "scale_codes": math.ceil(groups * 3 / 8),
        "zero_codes": math.ceil(groups * 3 / 8),
        "scale_range": 3 * 4 * 2 * 2,  # 33 rows are three groups of 16
        "zero_range": 3 * 4 * 2 * 2,
        "outlier_rows": 34 * 4,
        "outlier_columns": kept * 2,
        "outlier_values": kept * 2,
        "size": 8,
    }
    assert {name: array.nbytes for name, array in arrays.items()} == counted


def test_the_mean_bits_are_those_of_the_papers_formula():
    """Section 4.3: b + (b_s + b_z) / 16 + 64 / 256, and 32 for an outlier, here with row starts."""
    weight = weight_of(512, 512)
    arrays = encode(weight, HOW)
    kept = len(arrays["outlier_values"])
    bits = 3 + 6 / 16 + 64 / 256 + 32 * kept / 512**2
    rest = arrays["outlier_rows"].nbytes + arrays["size"].nbytes
    assert sum(array.nbytes for array in arrays.values()) - rest == bits * 512**2 / 8


def test_a_group_is_rounded_to_the_nearest_level_of_its_range():
    weight = weight_of(16, 16, seed=3)
    made, arrays = round_trip(weight, NO_OUTLIERS)
    step = (weight.amax(1) - weight.amin(1)) / 7
    # Its statistics have 8 bits here: they are off by half of 1/255 of their spread.
    assert ((made - weight).abs() <= 0.52 * step[:, None] + 1e-5).all()
    codes = unpack(arrays["codes"].numpy(), 256, 3).reshape(16, 16)
    assert (codes.min(1) == 0).all() and (codes.max(1) == 7).all()
    assert len(arrays["outlier_values"]) == 0


def test_a_large_weight_is_kept_and_does_not_spoil_its_group():
    weight = weight_of(64, 64)
    weight[10, 20] = 1.0
    made, arrays = round_trip(weight)
    assert outliers(arrays, weight.shape)[10, 20] and made[10, 20] == 1.0
    group = (made - weight)[10, 16:32]
    assert group.abs().max() < weight[10, 16:32].abs().median()


def squared_error(numbers, divisors, bits):
    """Of numbers rounded to even steps of their range, one by one."""
    low, high = min(numbers), max(numbers)
    step = (high - low) / (2**bits - 1)
    return sum(
        ((low + round((x - low) / step) * step - x) / d) ** 2
        for x, d in zip(numbers, divisors, strict=True)
    )


@pytest.mark.parametrize("size", [3, 5, 16])
def test_what_spoils_a_range_is_found_as_by_leaving_out_one_weight_after_another(size):
    group = weight_of(40, size, seed=5).double()
    group[::3] *= torch.rand(14, size, generator=torch.Generator().manual_seed(6)) ** -1
    divisors = torch.linspace(0.5, 2, size, dtype=torch.float64)
    threshold = 2e-4
    made = without_outliers(group, divisors, 3, threshold)
    found = 0
    for row, result in zip(group.tolist(), made.tolist(), strict=True):
        whole = squared_error(row, divisors.tolist(), 3)
        spoils = []
        for place in range(size):
            rest = [x for other, x in enumerate(row) if other != place]
            others = [d for other, d in enumerate(divisors.tolist()) if other != place]
            spoils.append(whole - squared_error(rest, others, 3) > threshold)
        good = [x for x, bad in zip(row, spoils, strict=True) if not bad]
        mean = sum(good) / max(1, len(good))
        assert result == pytest.approx(
            [mean if bad else x for x, bad in zip(row, spoils, strict=True)], rel=1e-9
        )
        found += sum(spoils)
    assert 2 < found < 40 * size / 2


def test_zeros_that_pad_are_not_stored_and_come_back():
    weight = weight_of(30, 40)
    padded = torch.nn.functional.pad(weight, (0, 8, 0, 2))
    made, arrays = round_trip(padded)
    alone, own = round_trip(weight)
    assert arrays.keys() == own.keys()
    assert all(torch.equal(arrays[name], own[name]) for name in own)
    assert torch.equal(made, torch.nn.functional.pad(alone, (0, 8, 0, 2)))


def test_weights_of_zero_and_equal_weights_stay_what_they_are():
    assert torch.equal(round_trip(torch.zeros(20, 20))[0], torch.zeros(20, 20))
    made, _ = round_trip(torch.full((16, 16), -0.25))
    assert torch.allclose(made, torch.tensor(-0.25), rtol=1e-3)


def test_moments_of_uncorrelated_inputs_change_nothing():
    weight = weight_of(24, 40)
    plain, given = encode(weight, HOW), encode(weight, HOW, 7 * torch.eye(40))
    assert all(torch.equal(plain[name], given[name]) for name in plain)


def test_with_moments_the_outputs_are_nearer():
    weight = weight_of(48, 64)
    mixing = torch.randn(64, 8, generator=torch.Generator().manual_seed(1))
    moment = mixing @ mixing.T + 0.05 * torch.eye(64)

    def error(made):
        off = (made - weight).double()
        return float((off @ moment.double() * off).sum())

    assert error(round_trip(weight, HOW, moment)[0]) < 0.7 * error(round_trip(weight)[0])


def test_columns_that_sixteen_bits_cannot_number_are_refused():
    with pytest.raises(LowrankError, match="70000 columns are more than 65536"):
        encode(torch.ones(1, 70_000), HOW)
