"""Linear layers that are smaller than the dense one in their place.

The weight of the first two is a product of factors, stored in either form. The third has a part of
the dense layer's channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

MULTIPLE, LEAST_PADDED = 8, 64
"""Sizes that are padded with zeros to a multiple, and the least that are.

Matrix units want 16 bytes in a row; on an H200 a rank of 1638 took three times as long as the dense
layer. A small rank is read once, and padding would make it several times larger.
"""


class LowRankLinear(nn.Module):
    """A linear layer whose weight is a product: y = (x · rightᵀ) · leftᵀ + bias.

    A Tucker core is folded into `left`, which changes nothing but the number of products.

    Parameters
    ----------
    left_OR
        (out × rank).
    right_RI
        (rank × in).
    bias_O
        The dense layer's bias, or None.
    pads
        Whether a rank may be padded.
    """

    def __init__(
        self, left_OR: Tensor, right_RI: Tensor, bias_O: Tensor | None, pads: bool = True
    ) -> None:
        super().__init__()
        if pads:
            left_OR, right_RI = _padded(left_OR, 1), _padded(right_RI, 0)
        self.left = nn.Parameter(left_OR, requires_grad=False)
        self.right = nn.Parameter(right_RI, requires_grad=False)
        self.bias = None if bias_O is None else nn.Parameter(bias_O, requires_grad=False)

    @property
    def weight(self) -> Tensor:
        """The product, (out × in): what a dense layer in this one's place would hold."""
        return self.left @ self.right

    def forward(self, x_BTI: Tensor) -> Tensor:
        """Return y_BTO for x_BTI."""
        return nn.functional.linear(nn.functional.linear(x_BTI, self.right), self.left, self.bias)


class PivotedLinear(nn.Module):
    """A linear layer whose weight is stored as some of its rows and combinations of them.

    A matrix of rank r has r rows of which every other row is a combination. So the outputs of
    these rows give all outputs: y = [h, h · coefficientsᵀ] in the order of the dense layer, with
    h = x · rowsᵀ (arXiv 2501.19090). It is the same product as the factors', with r² fewer numbers.

    Parameters
    ----------
    rows_RI
        The rows, (rank × in).
    coefficients_SR
        The other rows as combinations of them, (out − rank × rank).
    order_O
        Which row of the weight each output is: first the rows, then the others.
    bias_O
        The bias, or None.
    pads
        Whether sizes may be padded. Without it the order is part of the module's state.
    """

    def __init__(
        self,
        rows_RI: Tensor,
        coefficients_SR: Tensor,
        order_O: Tensor,
        bias_O: Tensor | None,
        pads: bool = True,
    ) -> None:
        super().__init__()
        rank, place_O = len(rows_RI), torch.argsort(order_O)
        if pads:
            rows_RI = _padded(rows_RI, 0)
            coefficients_SR = _padded(_padded(coefficients_SR, 0), 1)
            place_O[place_O >= rank] += len(rows_RI) - rank  # the others come after the padding
        self.rows = nn.Parameter(rows_RI, requires_grad=False)
        self.coefficients = nn.Parameter(coefficients_SR, requires_grad=False)
        self.register_buffer("place", place_O if pads else place_O.int(), persistent=not pads)
        self.bias = None if bias_O is None else nn.Parameter(bias_O, requires_grad=False)

    @property
    def weight(self) -> Tensor:
        """The product, (out × in): what a dense layer in this one's place would hold."""
        return torch.cat([self.rows, self.coefficients @ self.rows])[self.place]

    def forward(self, x_BTI: Tensor) -> Tensor:
        """Return y_BTO for x_BTI."""
        h_BTR = nn.functional.linear(x_BTI, self.rows)
        y_BTO = torch.cat([h_BTR, nn.functional.linear(h_BTR, self.coefficients)], dim=-1)
        y_BTO = y_BTO.index_select(-1, self.place)
        return y_BTO if self.bias is None else y_BTO + self.bias


def _padded(matrix: Tensor, dim: int) -> Tensor:
    """Return a matrix with zeros after its last row (`dim` 0) or column (1), if they are to be."""
    size = matrix.shape[dim]
    missing = -size % MULTIPLE if size >= LEAST_PADDED else 0
    return nn.functional.pad(matrix, (0, 0, 0, missing) if dim == 0 else (0, missing)).contiguous()


class ChannelLinear(nn.Module):
    """A linear layer that has some of a dense one's outputs, or reads some of its inputs.

    Parameters
    ----------
    dense
        The dense layer.
    kept_K
        The outputs or inputs that are kept, ascending.
    axis
        0 if outputs are kept, 1 if inputs are.
    """

    def __init__(self, dense: nn.Linear, kept_K: Tensor, axis: int) -> None:
        super().__init__()
        kept_K = kept_K.long().to(dense.weight.device)
        self.axis, self.shape = axis, tuple(dense.weight.shape)
        self.register_buffer("kept", kept_K, persistent=False)
        weight = dense.weight.data.index_select(axis, kept_K)
        self.kept_weight = nn.Parameter(weight.contiguous(), requires_grad=False)
        bias = None if dense.bias is None else dense.bias.data
        if bias is not None and axis == 0:
            bias = bias.index_select(0, kept_K)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    @property
    def weight(self) -> Tensor:
        """The dense layer's weight with zeros for what is left out, (out × in)."""
        made = self.kept_weight.new_zeros(self.shape)
        return made.index_copy(self.axis, self.kept, self.kept_weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs that are kept, or all outputs of the inputs that are."""
        return nn.functional.linear(x, self.kept_weight, self.bias)
