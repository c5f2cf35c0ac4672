"""Products of factors as plain linear layers, one after the other.

Libraries that tune models look for `nn.Linear`. So a product becomes a chain of them while it is
trained: `right`, `core` if there is one, and `left`; or `rows` and `coefficients`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEFT, RIGHT = "left", "right"
"""The two sides of a product: the factor that makes the outputs, and the one that reads the inputs.
"""

SIDES = {"left": LEFT, "coefficients": LEFT, "core": LEFT, "right": RIGHT, "rows": RIGHT}
"""On which side of a product a layer of a chain is, by its name."""


class Chain(nn.Sequential):
    """A product of factors as linear layers, one after the other."""


class PivotedChain(nn.Module):
    """What `lowrank.decompose.linear.PivotedLinear` computes, of two linear layers.

    Parameters
    ----------
    rows, coefficients
        The layers. A bias of the second is added at the end.
    place_O
        Where among what the first makes, and the second after it, each output is.
    """

    def __init__(self, rows: nn.Linear, coefficients: nn.Linear, place_O: Tensor) -> None:
        super().__init__()
        self.rows, self.coefficients = rows, coefficients
        self.bias = coefficients.bias
        coefficients.bias = None
        self.register_buffer("place", place_O, persistent=False)

    def forward(self, x_BTI: Tensor) -> Tensor:
        """Return y_BTO for x_BTI."""
        h_BTR = self.rows(x_BTI)
        y_BTO = torch.cat([h_BTR, self.coefficients(h_BTR)], dim=-1).index_select(-1, self.place)
        return y_BTO if self.bias is None else y_BTO + self.bias
