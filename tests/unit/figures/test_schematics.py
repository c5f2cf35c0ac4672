import re

import pypdf
import pytest
from lowrank.figures import figure_1_1, figure_3_1, figure_3_3, style
from lowrank.figures.schematic import DENSE, SMALLEST_SIZE, Box, Sketch, layout_faults
from lowrank.space.families.registry import FAMILIES

FIGURES = (figure_1_1, figure_3_1, figure_3_3)
every_figure = pytest.mark.parametrize("figure", FIGURES, ids=lambda module: module.__name__)


def render(figure, folder):
    folder.mkdir()
    files = folder / "figure.pdf", folder / "figure.png"
    figure.render(*files)
    return files


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("schematics")
    return {figure: render(figure, folder / figure.__name__) for figure in FIGURES}


@every_figure
def test_rendering_again_gives_the_same_bytes(figure, rendered, tmp_path):
    again = render(figure, tmp_path / "again")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in rendered[figure]]


@every_figure
def test_text_is_clear_of_text_lines_and_the_edge(figure):
    with style.figure(figure.HEIGHT, [], figure.WIDTH) as canvas:
        figure.draw(canvas)
        assert layout_faults(canvas) == []


@every_figure
def test_a_pdf_is_one_page_of_the_stated_size(figure, rendered):
    (page,) = pypdf.PdfReader(rendered[figure][0]).pages
    assert [float(page.mediabox.width), float(page.mediabox.height)] == pytest.approx(
        [72 * figure.WIDTH, 72 * figure.HEIGHT]
    )
    assert figure.WIDTH in (style.COLUMN_WIDTH, style.TEXT_WIDTH)


@every_figure
def test_fonts_are_embedded_truetype(figure, rendered):
    (page,) = pypdf.PdfReader(rendered[figure][0]).pages
    fonts = [reference.get_object() for reference in page["/Resources"]["/Font"].values()]
    assert fonts
    for font in fonts:
        assert font["/Subtype"] == "/Type0"
        (descendant,) = (reference.get_object() for reference in font["/DescendantFonts"])
        assert descendant["/Subtype"] == "/CIDFontType2"
        assert "/FontFile2" in descendant["/FontDescriptor"].get_object()


@every_figure
def test_a_drawing_is_vectors_and_its_type_is_legible(figure, rendered):
    (page,) = pypdf.PdfReader(rendered[figure][0]).pages
    assert not page.images
    sizes = [
        float(size) for size in re.findall(rb"/F\S+ ([\d.]+) Tf", page.get_contents().get_data())
    ]
    assert sizes and min(sizes) >= SMALLEST_SIZE


def drawn_symbols(path):
    """Every W with an index, however the index was set."""
    (page,) = pypdf.PdfReader(path).pages
    return re.findall(r"W\s*(Int|SO|[A-Z])(?![a-z])", page.extract_text())


def test_figure_3_3_has_every_tensor_of_both_families(rendered):
    bert, llama = figure_3_3.symbols("bert"), figure_3_3.symbols("llama")
    assert bert == ("Q", "K", "V", "SO", "Int", "O")
    assert llama == tuple(FAMILIES["llama"].symbols.values())
    assert sorted(drawn_symbols(rendered[figure_3_3][0])) == sorted([*bert, *llama])


def test_figure_3_1_has_every_tensor_of_llama(rendered):
    drawn = drawn_symbols(rendered[figure_3_1][0])
    assert set(FAMILIES["llama"].symbols.values()) <= set(drawn)


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ((50, 50), "'there' overlaps 'here'"),
        ((2, 20), "'here' leaves the canvas"),
        ((90, 20), "'here' is crossed by a line"),
    ],
)
def test_the_check_of_the_layout_finds_each_fault(place, fault):
    with style.figure(1.0, [], 2.0) as canvas:
        sketch = Sketch(canvas)
        sketch.text(55, 52, "there")
        sketch.box(Box(100, 20, 20, 20), DENSE)
        sketch.text(*place, "here")
        assert layout_faults(canvas) == [fault]
