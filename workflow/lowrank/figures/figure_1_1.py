"""Figure 1.1: Tucker decomposition of a third-order tensor."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from lowrank.figures import style
from lowrank.figures.schematic import CORE, DECOMPOSED, FACTOR, Box, Sketch, oblique

WIDTH, HEIGHT = style.COLUMN_WIDTH, 1.95
"""Inches."""

N1, N2, N3, RANK = 58.0, 36.0, 54.0, 23.0
"""True lengths in points: the sides of T, and the one that stands for each of r1, r2 and r3."""


def draw(figure: Figure) -> None:
    """Draw T, its core and its factors: mode 1 is down, mode 2 across, mode 3 into the page."""
    sketch = Sketch(figure)
    middle = 64.0
    label, sign = 7.5, 9.0  # distances of a side's label and of a product sign

    tensor = Box(34.0, middle, N2, N1)
    sketch.cuboid(tensor, N3, DECOMPOSED, "$T$")
    right, up = oblique(N3)
    sketch.text(tensor.left[0] - label, middle, "$n_1$")
    sketch.text(tensor.x, tensor.bottom[1] - label, "$n_2$")
    sketch.text(tensor.right[0] + right / 2 + label, tensor.bottom[1] + up / 2 - label / 2, "$n_3$")
    sketch.text(80.0, middle, r"$\approx$", size=11)

    first = sketch.box(Box(114.5, middle, RANK, N1), FACTOR, "$U^1$", rounding=0)
    sketch.text(first.left[0] - label, middle, "$n_1$")
    sketch.text(first.x, first.bottom[1] - label, "$r_1$")

    sketch.text(first.right[0] + sign, middle, r"$\times_1$")
    core = Box(first.right[0] + 2 * sign + RANK / 2, middle, RANK, RANK)
    sketch.cuboid(core, RANK, CORE, r"$\Gamma$")
    sketch.text(core.x, core.bottom[1] - label, r"$r_1\times r_2\times r_3$")

    right, up = oblique(RANK)
    sketch.text(core.right[0] + right + sign, middle, r"$\times_2$")
    second = Box(core.right[0] + right + 2 * sign + N2 / 2, middle, N2, RANK)
    sketch.box(second, FACTOR, "$U^2$", rounding=0)
    sketch.text(second.right[0] + label, middle, "$r_2$")
    sketch.text(second.x, second.bottom[1] - label, "$n_2$")

    above = core.top[1] + up
    sketch.text(core.x + right, above + sign, r"$\times_3$")
    near = core.left[0] + right, above + 2 * sign
    sketch.sheet(near, RANK, N3, FACTOR, "$U^3$")
    right, up = oblique(N3)
    sketch.text(near[0] + RANK / 2 + right, near[1] + up + label, "$r_3$")
    sketch.text(near[0] + RANK + right / 2 + label, near[1] + up / 2 - label / 2, "$n_3$")

    sketch.text(
        sketch.width / 2,
        10.0,
        r"$T \;\approx\; \Gamma \;{\times}_1\, U^1 \;{\times}_2\, U^2 \;{\times}_3\, U^3$",
    )


def render(pdf: str | Path, png: str | Path) -> None:
    """Draw the figure and write it to the two files."""
    with style.figure(HEIGHT, [pdf, png], WIDTH) as canvas:
        draw(canvas)
