"""A linear layer whose weight is a product of factors."""

from __future__ import annotations

from torch import Tensor, nn


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
    """

    def __init__(self, left_OR: Tensor, right_RI: Tensor, bias_O: Tensor | None) -> None:
        super().__init__()
        self.left = nn.Parameter(left_OR.contiguous(), requires_grad=False)
        self.right = nn.Parameter(right_RI.contiguous(), requires_grad=False)
        self.bias = None if bias_O is None else nn.Parameter(bias_O, requires_grad=False)

    @property
    def weight(self) -> Tensor:
        """The product, (out × in): what a dense layer in this one's place would hold."""
        return self.left @ self.right

    def forward(self, x_BTI: Tensor) -> Tensor:
        """Return y_BTO for x_BTI."""
        return nn.functional.linear(nn.functional.linear(x_BTI, self.right), self.left, self.bias)
