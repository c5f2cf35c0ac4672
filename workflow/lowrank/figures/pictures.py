"""Pictures of a run's figures, small enough to be kept with the code."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from lowrank.base.errors import LowrankError
from lowrank.base.files import atomic_path

MOST_BYTES = 150_000
"""A kept picture is no larger: a page that shows three of them still opens at once."""

COLOURS = (256, 64)
"""Sizes of the palette, tried in this order: figures have few colours, and still fewer are grey."""

SHARES = (1.0, 0.85, 0.7, 0.55)
"""Sizes of the picture, tried in this order where no palette is small enough."""


def keep_pictures(
    pictures: Mapping[str, str | Path], output: str | Path, most_bytes: int = MOST_BYTES
) -> None:
    """Write pictures of figures with a palette in place of true colours, smaller if need be.

    Parameters
    ----------
    pictures
        From the name of a kept picture to the PNG that a run made.
    output
        The folder to write `{name}.png` into.
    most_bytes
        The largest size of a kept picture.

    Raises
    ------
    LowrankError
        If a picture is missing, or larger than `most_bytes` at the smallest size.
    """
    for name, path in pictures.items():
        try:
            with Image.open(path) as opened:
                picture = opened.convert("RGB")
        except OSError as error:
            raise LowrankError(f"{path} cannot be read ({error}): run `make reproduce`") from None
        kept = Path(output) / f"{name}.png"
        with atomic_path(kept) as temporary:
            for share, colours in itertools.product(SHARES, COLOURS):
                sized = picture.resize([round(share * side) for side in picture.size])
                # The palette covers the colours that are rare: marks are small, and text is grey.
                drawn = sized.quantize(colours, method=Image.Quantize.MAXCOVERAGE)
                drawn.save(temporary, format="PNG", optimize=True)
                size = temporary.stat().st_size
                if size <= most_bytes:
                    break
            else:
                raise LowrankError(f"{path} takes {size:,} bytes to keep, above {most_bytes:,}")
