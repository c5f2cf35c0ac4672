"""Figure 3.3: a BERT and a Llama 2 layer, with their decomposable weight tensors highlighted."""

from __future__ import annotations

import itertools
from pathlib import Path

from matplotlib.figure import Figure

from lowrank.figures import style
from lowrank.figures.schematic import (
    DECOMPOSED,
    DENSE,
    GREY,
    Box,
    Look,
    Point,
    Sketch,
    tint,
    weight,
)
from lowrank.space.families.registry import FAMILIES

WIDTH, HEIGHT = style.TEXT_WIDTH, 3.48
"""Inches."""

LANE = 22.0
"""Distance between the parallel paths of query, key and value; points."""

OPERATION = 17.0
"""Height of a box on one path; points."""

_GROUND = Look(tint(GREY, 0.14), "none")

# Places along the layer that both panels share; points.
_FORK, _SPLIT, _QKV, _ATTENTION, _PROJECTION, _SUM = 34.0, 65.0, 87.0, 172.0, 226.0, 256.0


def symbols(family: str) -> tuple[str, ...]:
    """Return the symbols of a family's decomposable tensors, in the order of the figure."""
    return tuple(FAMILIES[family].symbols.values())


def draw(figure: Figure) -> None:
    """Draw both layers from left to right, what they share at the same place."""
    sketch = Sketch(figure)
    _bert(sketch, 187.0)
    _llama(sketch, 70.0)
    sketch.legend(
        10.0,
        [
            (DECOMPOSED, "decomposable weight tensor"),
            (DENSE, "other operation"),
            ("+", "residual sum"),
            ("*", "element-wise product"),
        ],
    )


def _bert(sketch: Sketch, y: float) -> None:
    """Draw a layer that normalizes what comes out of each sum."""
    query, key, value, projection, intermediate, output = symbols("bert")
    _title(sketch, y, "(a) BERT layer")
    _ground(sketch, y, (_SPLIT - 6, _PROJECTION + 20), "Self-attention")
    _ground(sketch, y, (304, 419), "Intermediate and output")

    sketch.line([_input(sketch, y), (_SPLIT, y)])
    attention = _tall(sketch, _ATTENTION, y, 50, "scaled\ndot-product\nattention")
    for lane, symbol in ((1, query), (0, key), (-1, value)):
        tensor = _weight(sketch, _QKV, y + lane * LANE, symbol)
        sketch.arrow((_SPLIT, y), (_SPLIT, tensor.y), tensor.left)
        sketch.arrow(tensor.right, (attention.left[0], tensor.y))
    sketch.dot(_SPLIT, y)
    first = sketch.operator(_SUM, y, "+")
    norm = _tall(sketch, 279, y, 15, "LayerNorm", 90)
    _connect(sketch, attention, _weight(sketch, _PROJECTION, y, projection), first, norm)
    _skip(sketch, (_FORK, y), first)

    second = sketch.operator(431, y, "+")
    last = _tall(sketch, 455, y, 15, "LayerNorm", 90)
    _connect(
        sketch,
        norm,
        _weight(sketch, 324, y, intermediate),
        _operation(sketch, 361.5, y, "GELU"),
        _weight(sketch, 399, y, output),
        second,
        last,
    )
    _skip(sketch, (295, y), second)
    _output(sketch, last)


def _llama(sketch: Sketch, y: float) -> None:
    """Draw a layer that normalizes what goes into attention and into the MLP."""
    query, key, value, projection, gate, up, down = symbols("llama")
    _title(sketch, y, "(b) Llama 2 layer")
    _ground(sketch, y, (_SPLIT - 6, _PROJECTION + 20), "Self-attention")
    _ground(sketch, y, (299, 444), "MLP")

    norm = _tall(sketch, 48, y, 15, "RMSNorm", 90)
    sketch.arrow(_input(sketch, y), norm.left)
    sketch.line([norm.right, (_SPLIT, y)])
    rotation = sketch.box(Box(126, y + LANE / 2, 27, LANE + OPERATION), label="RoPE")
    attention = _tall(sketch, _ATTENTION, y, 50, "causal\nscaled\ndot-product\nattention")
    for lane, symbol in ((1, query), (0, key), (-1, value)):
        tensor = _weight(sketch, _QKV, y + lane * LANE, symbol)
        sketch.arrow((_SPLIT, y), (_SPLIT, tensor.y), tensor.left)
        if lane >= 0:  # values are not rotated
            sketch.arrow(tensor.right, (rotation.left[0], tensor.y))
        start = (rotation if lane >= 0 else tensor).right[0]
        sketch.arrow((start, tensor.y), (attention.left[0], tensor.y))
    sketch.dot(_SPLIT, y)
    first = sketch.operator(_SUM, y, "+")
    norm = _tall(sketch, 285, y, 15, "RMSNorm", 90)
    _connect(sketch, attention, _weight(sketch, _PROJECTION, y, projection), first, norm)
    _skip(sketch, (_FORK, y), first)

    split = 304.0
    sketch.line([norm.right, (split, y)])
    product = sketch.operator(392, y, "*")
    gating = _weight(sketch, 326, y + 0.75 * LANE, gate)
    sketch.arrow((split, y), (split, gating.y), gating.left)
    activation = _operation(sketch, 362, gating.y, "SiLU")
    sketch.arrow(gating.right, activation.left)
    sketch.arrow(activation.right, (product.x, activation.y), product.top)
    lifting = _weight(sketch, 326, y - 0.75 * LANE, up)
    sketch.arrow((split, y), (split, lifting.y), lifting.left)
    sketch.arrow(lifting.right, (product.x, lifting.y), product.bottom)
    sketch.dot(split, y)

    second = sketch.operator(456, y, "+")
    _connect(sketch, product, _weight(sketch, 424, y, down), second)
    _skip(sketch, (269, y), second)
    _output(sketch, second)


def _title(sketch: Sketch, y: float, title: str) -> None:
    sketch.text(6, y + 54, title, across="left", bold=True)


def _ground(sketch: Sketch, y: float, ends: tuple[float, float], name: str) -> None:
    """Shade a part of the layer and name it at its foot."""
    left, right = ends
    low, high = y - 47, y + 36
    sketch.box(Box((left + right) / 2, (low + high) / 2, right - left, high - low), _GROUND)
    sketch.text((left + right) / 2, low + 7, name)


def _weight(sketch: Sketch, x: float, y: float, symbol: str) -> Box:
    return sketch.box(Box(x, y, 28, OPERATION), DECOMPOSED, weight(symbol))


def _operation(sketch: Sketch, x: float, y: float, name: str) -> Box:
    return sketch.box(Box(x, y, 25, OPERATION), label=name)


def _tall(sketch: Sketch, x: float, y: float, width: float, name: str, rotation: float = 0) -> Box:
    """Draw an operation on all three paths."""
    return sketch.box(Box(x, y, width, 2 * LANE + OPERATION), label=name, rotation=rotation)


def _connect(sketch: Sketch, *boxes: Box) -> None:
    """Draw an arrow from each box to the next."""
    for one, other in itertools.pairwise(boxes):
        sketch.arrow(one.right, other.left)


def _skip(sketch: Sketch, start: Point, total: Box) -> None:
    """Draw a residual connection from a point of the main path over what it leaves out."""
    high = start[1] + 43
    sketch.dot(*start)
    sketch.arrow(start, (start[0], high), (total.x, high), total.top)


def _input(sketch: Sketch, y: float) -> Point:
    sketch.text(6, y, "input", across="left")
    return 27.0, y


def _output(sketch: Sketch, last: Box) -> None:
    sketch.arrow(last.right, (last.right[0] + 10, last.y))
    sketch.text(last.right[0] + 12, last.y, "output", across="left")


def render(pdf: str | Path, png: str | Path) -> None:
    """Draw the figure and write it to the two files."""
    with style.figure(HEIGHT, [pdf, png], WIDTH) as canvas:
        draw(canvas)
