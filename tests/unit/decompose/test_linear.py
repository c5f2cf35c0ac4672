"""Sizes that matrix units like: zeros are added, and no product changes."""

import numpy as np
import pytest
import torch
from lowrank.decompose.forms import stored
from lowrank.decompose.layer_factors import Cut
from lowrank.decompose.linear import LowRankLinear, PivotedLinear


@pytest.mark.parametrize(
    ("rank", "outputs", "padded", "others"),
    [(63, 150, 63, 88), (64, 150, 64, 88), (70, 150, 72, 80), (70, 100, 72, 30)],
)
def test_ranks_are_padded_with_zeros_from_64_on_and_the_product_stays(
    rank, outputs, padded, others
):
    rng = np.random.default_rng(rank)
    left_OR = np.linalg.qr(rng.normal(size=(outputs, rank)))[0]
    cut = Cut(1, "q", left_OR, np.linspace(2, 1, rank), rng.normal(size=(rank, 90)), None, 0.0)
    exact = torch.from_numpy((cut.left_OR * cut.scales_R) @ cut.right_RI).float()
    made = {form: stored(cut, form, False) for form in ("pairs", "pivoted")}
    tensors = {form: [torch.from_numpy(own) for own in made[form].values()] for form in made}
    bias_O = torch.rand(outputs)
    pair = LowRankLinear(*tensors["pairs"], bias_O)
    pivoted = PivotedLinear(*tensors["pivoted"], bias_O)
    assert (pair.left.shape, pair.right.shape) == ((outputs, padded), (padded, 90))
    assert (pivoted.rows.shape, pivoted.coefficients.shape) == ((padded, 90), (others, padded))
    x_BTI = torch.rand(2, 3, 90)
    for layer in (pair, pivoted):
        assert torch.allclose(layer.weight, exact, atol=1e-4)
        assert torch.allclose(layer(x_BTI), x_BTI @ exact.T + bias_O, atol=1e-3)
