import numpy as np
import pytest
from lowrank.base.errors import LowrankError
from lowrank.figures.pictures import MOST_BYTES, keep_pictures
from PIL import Image


def figure(path, width=1000, height=1200):
    """A page of lines in a few colours, in true colour as matplotlib writes it."""
    pixels_HWC = np.full((height, width, 3), 255, dtype=np.uint8)
    for row in range(0, height, 40):
        pixels_HWC[row : row + 2] = (row % 256, 90, 160)
    Image.fromarray(pixels_HWC).save(path)
    return path


def test_a_kept_picture_is_small_and_shows_the_same(tmp_path):
    source = figure(tmp_path / "figure_4_1.png")
    keep_pictures({"accuracy": source}, tmp_path / "kept")
    kept = tmp_path / "kept" / "accuracy.png"
    assert kept.stat().st_size <= MOST_BYTES
    with Image.open(source) as before, Image.open(kept) as after:
        assert before.size == after.size
        difference = np.abs(np.asarray(before, int) - np.asarray(after.convert("RGB"), int))
    assert difference.max() <= 8


def test_a_small_mark_keeps_its_colour_among_many_greys(tmp_path):
    rng = np.random.default_rng(0)
    grey_HW1 = rng.integers(256, size=(120, 120, 1), dtype=np.uint8)
    pixels_HWC = np.repeat(grey_HW1, 3, axis=2)
    pixels_HWC[10:16, 10:16], pixels_HWC[40:46, 40:46] = (180, 50, 40), (60, 140, 70)
    Image.fromarray(pixels_HWC).save(tmp_path / "marks.png")
    keep_pictures({"marks": tmp_path / "marks.png"}, tmp_path / "kept", most_bytes=11_500)
    with Image.open(tmp_path / "kept" / "marks.png") as kept:
        assert kept.size == (120, 120) and len(kept.getcolors()) <= 64
        red, green = (kept.convert("RGB").getpixel((at, at)) for at in (12, 42))
    assert np.abs(np.subtract(red, (180, 50, 40))).max() <= 20
    assert np.abs(np.subtract(green, (60, 140, 70))).max() <= 20


def test_a_picture_that_cannot_be_small_is_refused_and_leaves_nothing(tmp_path):
    noise_HWC = np.random.default_rng(0).integers(256, size=(400, 400, 3), dtype=np.uint8)
    Image.fromarray(noise_HWC).save(tmp_path / "noise.png")
    with pytest.raises(LowrankError, match=r"noise\.png takes .* bytes to keep, above 10,000"):
        keep_pictures({"noise": tmp_path / "noise.png"}, tmp_path / "kept", most_bytes=10_000)
    assert not list((tmp_path / "kept").iterdir())


def test_a_picture_of_many_details_is_kept_smaller(tmp_path):
    noise_HWC = np.random.default_rng(0).integers(256, size=(400, 400, 3), dtype=np.uint8)
    Image.fromarray(noise_HWC).save(tmp_path / "noise.png")
    keep_pictures({"noise": tmp_path / "noise.png"}, tmp_path / "kept", most_bytes=100_000)
    with Image.open(tmp_path / "kept/noise.png") as kept:
        assert kept.size == (340, 340)


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(LowrankError, match=r"lost\.png cannot be read"):
        keep_pictures({"lost": tmp_path / "lost.png"}, tmp_path / "kept")
