"""Figure 3.1: the three axes of a decomposition configuration (thesis Definition 3.4)."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from lowrank.figures import style
from lowrank.figures.schematic import (
    CORE,
    DECOMPOSED,
    DENSE,
    FACTOR,
    GREY,
    TEXT_SIZE,
    Box,
    Point,
    Sketch,
    weight,
)
from lowrank.space.families.registry import FAMILIES

WIDTH, HEIGHT = style.TEXT_WIDTH, 2.1
"""Inches."""

MIDDLE = 79.0
"""Height of the panels' centre; points."""

SYMBOLS = FAMILIES["llama"].symbols
GRID = (("Self-attention", ("q", "k", "v", "so")), ("MLP", ("g", "u", "d")))
"""The tensors of a layer as panel (b) shows them; panel (c) is of the last one."""
CHOSEN = ("q", "v", "d")
"""An example of decomposed tensors."""


def draw(figure: Figure) -> None:
    """Draw the choice of layers, of tensors within a layer, and of the pruned rank."""
    sketch = Sketch(figure)
    for x, title in (
        (6.0, "(a) Axis 1: decomposed layers"),
        (148.0, "(b) Axis 2: decomposed tensors"),
        (312.0, "(c) Axis 3: pruned rank"),
    ):
        sketch.text(x, sketch.height - 9, title, across="left", bold=True)
    layer = _layers(sketch)
    around = Box(218.0, MIDDLE, 140.0, 104.0)
    _zoom(sketch, layer, around.left, around.height)
    tensor = _tensors(sketch, around)
    matrix = Box(345.0, MIDDLE, 48.0, 62.0)
    _zoom(sketch, tensor, matrix.left, matrix.height)
    _pruned_rank(sketch, matrix)
    sketch.legend(
        8.0,
        [
            (DECOMPOSED, "decomposed"),
            (DENSE, "left as it is"),
            (FACTOR, "factor"),
            (CORE, "core"),
        ],
    )


def _layers(sketch: Sketch) -> Box:
    """Draw the stack of layers; return the place of the one that panel (b) looks into."""
    pitch = 18.0
    labels = ("Layer 1", "Layer 2", "Layer 3", "", "Layer $N-1$", "Layer $N$")
    boxes = []
    for index, label in enumerate(labels):
        place = Box(48.0, MIDDLE + pitch * (index - 2.5), 84.0, 13.0)
        if label:
            look = DECOMPOSED if label in ("Layer 2", "Layer $N-1$") else DENSE
            sketch.box(place, look, label)
        else:
            for step in (-1, 0, 1):
                sketch.dot(place.x, place.y + 4 * step, 0.8)
        boxes.append(place)
    for below, above in itertools.pairwise(boxes):
        sketch.arrow(below.top, above.bottom, head=3.4)
    return boxes[4]


def _tensors(sketch: Sketch, around: Box) -> Box:
    """Draw the tensors of one layer; return the place of the one that panel (c) looks into."""
    sketch.box(around, replace(DECOMPOSED, fill=DENSE.fill))
    left = around.left[0] + 8
    pitch, size = (around.width - 16 - 26) / 3, 26.0
    for row, (group, names) in enumerate(GRID):
        y = around.top[1] - 32 - 49 * row
        sketch.text(left, y + 21, group, across="left")
        for column, name in enumerate(names):
            place = Box(left + size / 2 + pitch * column, y, size, size)
            look = DECOMPOSED if name in CHOSEN else DENSE
            sketch.box(place, look, weight(SYMBOLS[name]))
    return place


def _pruned_rank(sketch: Sketch, matrix: Box) -> None:
    """Draw H x W approximated by (H x PR) (PR x PR) (PR x W)."""
    rank, rank_label = 18.0, r"$\mathit{PR}$"
    above = matrix.top[1] + 6.5

    def side(x: float, y: float, name: str) -> None:
        sketch.text(x, y, name, size=TEXT_SIZE)

    sketch.box(matrix, DECOMPOSED, "$T$", rounding=0)
    side(matrix.left[0] - 6, MIDDLE, "$H$")
    side(matrix.x, above, "$W$")
    sketch.text(matrix.right[0] + 9, MIDDLE, r"$\approx$", size=11)

    first = Box(matrix.right[0] + 25 + rank / 2, MIDDLE, rank, matrix.height)
    sketch.box(first, FACTOR, "$U^1$", rounding=0)
    side(first.left[0] - 5, MIDDLE, "$H$")
    side(first.x, above, rank_label)

    core = Box(first.right[0] + 6 + rank / 2, MIDDLE, rank, rank)
    sketch.box(core, CORE, r"$\Gamma$", rounding=0)
    side(core.x, core.top[1] + 6.5, rank_label)

    second = Box(core.right[0] + 13 + matrix.width / 2, MIDDLE, matrix.width, rank)
    sketch.box(second, FACTOR, "$U^2$", rounding=0)
    # One label for two sides of the same length: the core's right one and the factor's left one.
    side((core.right[0] + second.left[0]) / 2, MIDDLE, rank_label)
    side(second.x, second.top[1] + 6.5, "$W$")

    sketch.text(
        (matrix.left[0] + second.right[0]) / 2,
        matrix.bottom[1] - 13,
        r"$H \times W \;\;\rightarrow\;\; (H + \mathit{PR} + W) \times \mathit{PR}$ parameters",
        size=TEXT_SIZE,
    )


def _zoom(sketch: Sketch, source: Box, target: Point, height: float) -> None:
    """Join a detail to its enlargement."""
    for side in (-1, 1):
        start = source.right[0], source.y + side * source.height / 2
        sketch.line([start, (target[0], target[1] + side * height / 2)], GREY, "dashed")


def render(pdf: str | Path, png: str | Path) -> None:
    """Draw the figure and write it to the two files."""
    with style.figure(HEIGHT, [pdf, png], WIDTH) as canvas:
        draw(canvas)
