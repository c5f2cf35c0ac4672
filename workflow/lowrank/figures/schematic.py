"""What the schematics (thesis Figures 1.1, 3.1 and 3.3) are drawn with.

A `Sketch` is a whole page measured in points (1/72 inch), y upwards, so that a length and a
font size mean the same thing on paper. `layout_faults` says what is wrong with the text on it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import matplotlib
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path
from matplotlib.text import Text

from lowrank.figures.style import COLOURS

Point = tuple[float, float]

TEXT_SIZE = 7.0
"""Points."""

SYMBOL_SIZE = 9.0
"""Points; mathtext sets an index at 0.7 of it, which must not fall below `SMALLEST_SIZE`."""

SMALLEST_SIZE = 6.0
"""Points; the smallest type that is legible in print."""

BLUE, _, GREEN, _, _, ORANGE, BLACK, GREY, *_ = COLOURS


def tint(colour: str, strength: float) -> str:
    """Return `colour` mixed with white; a strength of 1 is the colour itself."""
    return to_hex([1 - strength * (1 - channel) for channel in to_rgb(colour)])


@dataclass(frozen=True)
class Look:
    """Fill and edge of a shape; the heavier edge keeps the meaning when printed in grey."""

    fill: str
    edge: str
    heavy: bool = False


DECOMPOSED = Look(tint(ORANGE, 0.42), "#8A5F00", heavy=True)
"""A tensor or a layer that is, or can be, decomposed; the thesis's yellow boxes."""
DENSE = Look("#FFFFFF", GREY)
"""What is left as it is."""
FACTOR = Look(tint(GREEN, 0.30), GREEN)
CORE = Look(tint(BLUE, 0.30), BLUE)


@dataclass(frozen=True)
class Box:
    """A rectangle on the page, by its centre; points."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> Point:
        """Middle of the left side."""
        return self.x - self.width / 2, self.y

    @property
    def right(self) -> Point:
        """Middle of the right side."""
        return self.x + self.width / 2, self.y

    @property
    def top(self) -> Point:
        """Middle of the upper side."""
        return self.x, self.y + self.height / 2

    @property
    def bottom(self) -> Point:
        """Middle of the lower side."""
        return self.x, self.y - self.height / 2


def weight(symbol: str) -> str:
    """Return the mathtext of a weight tensor: W with the tensor's symbol as its index."""
    return rf"$W_\mathrm{{{symbol}}}$"


def oblique(depth: float) -> Point:
    """Return how far right and up `depth` reaches: halved, at 60° to the horizontal."""
    return depth / 2 * math.cos(math.pi / 3), depth / 2 * math.sin(math.pi / 3)


class Sketch:
    """A page to draw on.

    Parameters
    ----------
    figure
        An empty figure of `style.figure`; the sketch fills it and takes its line widths from
        the style that is in force.
    """

    def __init__(self, figure: Figure) -> None:
        figure.set_layout_engine("none")  # every place is given; nothing is left to arrange
        self.width, self.height = (float(72 * inches) for inches in figure.get_size_inches())
        self._axes = figure.add_axes((0, 0, 1, 1))
        self._axes.set(xlim=(0, self.width), ylim=(0, self.height))
        self._axes.axis("off")
        self.thin = float(matplotlib.rcParams["axes.linewidth"])
        self.thick = float(matplotlib.rcParams["lines.linewidth"])

    def text(
        self,
        x: float,
        y: float,
        content: str,
        size: float | None = None,
        across: str = "center",
        colour: str = BLACK,
        bold: bool = False,
        rotation: float = 0.0,
    ) -> Text:
        """Write `content` at a point, vertically centred; `across` is left, center or right."""
        if size is None:
            size = SYMBOL_SIZE if content.startswith("$") else TEXT_SIZE
        return self._axes.text(
            x,
            y,
            content,
            fontsize=size,
            horizontalalignment=across,
            verticalalignment="center_baseline",
            rotation_mode="anchor",
            color=colour,
            fontweight="bold" if bold else "normal",
            rotation=rotation,
            parse_math=True,
        )

    def box(
        self,
        place: Box,
        look: Look = DENSE,
        label: str = "",
        rounding: float = 2.0,
        rotation: float = 0.0,
    ) -> Box:
        """Draw a box with rounded corners (radius in points) and its label; return its place."""
        self._axes.add_patch(
            FancyBboxPatch(
                (place.left[0], place.bottom[1]),
                place.width,
                place.height,
                boxstyle=f"round,pad=0,rounding_size={rounding}" if rounding else "square,pad=0",
                facecolor=look.fill,
                edgecolor=look.edge,
                linewidth=self.thick if look.heavy else self.thin,
            )
        )
        if label:
            self.text(place.x, place.y, label, rotation=rotation)
        return place

    def polygon(self, corners: Sequence[Point], look: Look) -> None:
        """Fill a polygon."""
        self._axes.add_patch(
            Polygon(
                corners,
                facecolor=look.fill,
                edgecolor=look.edge,
                linewidth=self.thick if look.heavy else self.thin,
                joinstyle="round",
            )
        )

    def cuboid(self, front: Box, depth: float, look: Look, label: str = "") -> None:
        """Draw a cuboid in oblique projection; `front` is its face, `depth` its true depth."""
        (x0, y0), (x1, y1) = _corners(front)
        right, up = oblique(depth)
        # Shades tell the faces apart: lit from above.
        for fill, corners in (
            (look.fill, [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]),
            (
                tint(look.fill, 0.55),
                [(x0, y1), (x1, y1), (x1 + right, y1 + up), (x0 + right, y1 + up)],
            ),
            (
                _darker(look.fill),
                [(x1, y0), (x1 + right, y0 + up), (x1 + right, y1 + up), (x1, y1)],
            ),
        ):
            self.polygon(corners, replace(look, fill=fill))
        if label:
            self.text(front.x, front.y, label)

    def sheet(self, corner: Point, width: float, depth: float, look: Look, label: str = "") -> None:
        """Draw a matrix that lies flat and recedes: its near left corner, width and depth."""
        x, y = corner
        right, up = oblique(depth)
        self.polygon(
            [(x, y), (x + width, y), (x + width + right, y + up), (x + right, y + up)], look
        )
        if label:
            self.text(x + (width + right) / 2, y + up / 2, label)

    def line(self, points: Sequence[Point], colour: str = BLACK, style: str = "solid") -> None:
        """Draw a thin line through `points`."""
        self._axes.add_patch(
            PathPatch(
                Path(points),
                fill=False,
                edgecolor=colour,
                linewidth=self.thin,
                linestyle=style,
                capstyle="butt",
                joinstyle="round",
            )
        )

    def arrow(self, *points: Point, colour: str = BLACK, head: float = 4.0) -> None:
        """Draw a line through `points` whose tip touches the last; `head` is its length."""
        (x0, y0), (x1, y1) = points[-2:]
        length = math.hypot(x1 - x0, y1 - y0)
        along, aside = (x1 - x0) / length, (y1 - y0) / length
        base = x1 - head * along, y1 - head * aside
        half = 0.36 * head
        self.line([*points[:-1], base], colour)
        self._axes.add_patch(
            Polygon(
                [
                    (x1, y1),
                    (base[0] - half * aside, base[1] + half * along),
                    (base[0] + half * aside, base[1] - half * along),
                ],
                facecolor=colour,
                edgecolor="none",
            )
        )

    def dot(self, x: float, y: float, radius: float = 1.3, colour: str = BLACK) -> None:
        """Draw a small disc: a branch of a line, or one dot of an ellipsis."""
        self._axes.add_patch(Circle((x, y), radius, facecolor=colour, edgecolor="none"))

    def operator(self, x: float, y: float, sign: str, radius: float = 5.0) -> Box:
        """Draw a circled sign, `+` (sum) or `*` (element-wise product); return its place."""
        self._axes.add_patch(
            Circle((x, y), radius, facecolor="white", edgecolor=BLACK, linewidth=self.thin)
        )
        reach = 0.6 * radius
        if sign == "+":
            self.line([(x - reach, y), (x + reach, y)])
            self.line([(x, y - reach), (x, y + reach)])
        else:
            self.dot(x, y, 0.3 * radius)
        return Box(x, y, 2 * radius, 2 * radius)

    def legend(
        self, y: float, entries: Sequence[tuple[Look | str, str]], gap: float = 14.0
    ) -> None:
        """Explain looks and operators' signs in one centred row.

        Parameters
        ----------
        y
            Height of the row; points.
        entries
            A look or a sign, and what it means.
        gap
            Space between entries; points.
        """
        renderer = self._axes.figure.canvas.get_renderer()
        points = 72 / self._axes.figure.dpi
        x, placed = 0.0, []
        for key, meaning in entries:
            key_width = 11.0 if isinstance(key, Look) else 8.0
            text = self.text(0, y, meaning, across="left")
            placed.append((key, key_width, text, x))
            x += key_width + 4 + text.get_window_extent(renderer).width * points + gap
        start = (self.width - (x - gap)) / 2
        for key, key_width, text, offset in placed:
            centre = start + offset + key_width / 2
            if isinstance(key, Look):
                self.box(Box(centre, y, key_width, 7.0), key, rounding=1.5)
            else:
                self.operator(centre, y, key, radius=key_width / 2)
            text.set_x(start + offset + key_width + 4)


def layout_faults(figure: Figure) -> list[str]:
    """Return what is wrong with the text of a figure, one line a fault.

    Text may not leave the canvas, overlap other text or be crossed by the outline of a shape or
    by a line; text in a box therefore fits into it.
    """
    renderer = figure.canvas.get_renderer()
    figure.draw(renderer)
    outlines = [
        artist.get_transform().transform_path(artist.get_path())
        for axes in figure.axes
        for artist in (*axes.patches, *axes.lines)
    ]
    texts = [
        (text.get_text(), text.get_window_extent(renderer))
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip()
    ]
    faults = []
    for content, extent in texts:
        page = figure.bbox
        inside_x = page.x0 <= extent.x0 and extent.x1 <= page.x1
        if not (inside_x and page.y0 <= extent.y0 and extent.y1 <= page.y1):
            faults.append(f"{content!r} leaves the canvas")
        if any(outline.intersects_bbox(extent, filled=False) for outline in outlines):
            faults.append(f"{content!r} is crossed by a line")
    for (first, one), (second, other) in itertools.combinations(texts, 2):
        if one.overlaps(other):
            faults.append(f"{first!r} overlaps {second!r}")
    return faults


def _corners(box: Box) -> tuple[Point, Point]:
    return (box.left[0], box.bottom[1]), (box.right[0], box.top[1])


def _darker(colour: str) -> str:
    return to_hex([0.86 * channel for channel in to_rgb(colour)])
