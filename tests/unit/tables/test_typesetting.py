"""A table as files, and its text in Typst and LaTeX."""

import csv
import itertools
import sys

import pytest
from lowrank.base import cli
from lowrank.project.views.tables import shapes
from lowrank.tables import table_1_1, table_3_1
from lowrank.tables.typesetting import (
    Table,
    as_booktabs,
    difference_percent,
    mathematics,
    parse_and_write,
    scientific,
    write_table,
)

THESIS = "paper/thesis.yaml"


@pytest.fixture
def files(tmp_path):
    return [tmp_path / f"table.{suffix}" for suffix in ("csv", "pdf", "png", "tex")]


def test_a_table_as_files(files):
    rows = [(mathematics("a$b^2$"), "#x*_1_*"), ("$(c", "2")]
    header, groups = ("A", mathematics("$B$")), [("", 1), ("Group", 1)]
    table = Table("T", header, rows, ("left", "wide"), ["It's."], groups=groups)
    write_table(table, *files)
    with open(files[0], newline="") as file:
        assert list(csv.reader(file)) == [["A", "$B$"], ["a$b^2$", "#x*_1_*"], ["$(c", "2"]]
    first = [path.read_bytes() for path in files]
    assert first[1].startswith(b"%PDF") and first[2].startswith(b"\x89PNG")
    write_table(table, *files)
    assert [path.read_bytes() for path in files] == first
    write_table(Table("T", ("A",), [("a",)], ("left",), data=[("x", "y"), ("1", "2")]), *files)
    assert files[0].read_text() == "x,y\n1,2\n"


def test_numbers_as_text():
    assert scientific(2_234_207_627_120_641) == mathematics("$2.23 times 10^15$")
    assert scientific((2**80 - 1) * 127 * 1024 + 1) == mathematics("$1.57 times 10^29$")
    assert scientific(999_600) == mathematics("$1.00 times 10^6$")
    assert [difference_percent(value, 100) for value in (100.04, 99.96, 50, 101)] == [
        *("0.0%", "0.0%", "−50.0%", "+1.0%")
    ]


def test_booktabs_escapes_text_and_writes_mathematics():
    header, rows = (
        ["Size & kind", mathematics("$log_2 |S|$")],
        [["a_b 50%", mathematics("$2.2 times 10^15$")], ["−1† $", "2^3"]],
    )
    notes = ["† Cut off, 5%.", mathematics("‡ $2^(N + T)$ in all.")]
    text = as_booktabs(Table("T", header, rows, ["left", "right"], notes, groups=[("both", 2)]))
    assert text.splitlines() == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"\multicolumn{2}{c}{both} \\",
        r"Size \& kind & $\log _2 |S|$ \\",
        r"\midrule",
        r"a\_b 50\% & $2.2 \times  10^{15}$ \\",
        r"$-$1\dag{} \$ & 2\textasciicircum{}3 \\",
        r"\bottomrule",
        r"\end{tabular}",
        "",
        r"{\footnotesize",
        r"\dag{} Cut off, 5\%.\par",
        r"\ddag{} $2^{N + T}$ in all.\par",
        "}",
    ]


def test_every_mark_of_a_latex_table_has_its_note(project):
    names = ("resnet-50", "bert-base-uncased", "llama-2-7b")
    one = table_1_1.table([shapes(project, name) for name in names], THESIS)
    spaces = table_3_1.table([shapes(project, "llama-2-7b")], THESIS)
    for text in map(as_booktabs, (one, spaces)):
        table, notes = text.split(r"\end{tabular}")
        assert table.count("*") and "\n* " in notes
        assert (r"\dag{}" in table) == (r"\dag{}" in notes)
        assert text.isascii()


def test_a_script_writes_the_table_of_its_arguments(files, monkeypatch):
    options = {f"--{path.suffix[1:]}": str(path) for path in files} | {"--words": '["a", "b"]'}
    monkeypatch.setattr(sys, "argv", ["table.py", *itertools.chain(*options.items())])
    parse_and_write(
        cli.parser("A table.", words="JSON"),
        lambda words: Table("T", ("Word",), [(word,) for word in words], ("left",)),
    )
    assert files[0].read_text() == "Word\na\nb\n"
    assert all(path.stat().st_size for path in files)


@pytest.mark.parametrize("change", [{"header": ("A",)}, {"alignment": ()}, {"groups": [("", 3)]}])
def test_a_table_whose_columns_do_not_agree_cannot_be_made(change):
    good = {"header": ("A", "B"), "rows": [("a", "b")], "alignment": ("left", "left")}
    assert Table("T", **good).rows
    with pytest.raises(ValueError, match="columns"):
        Table("T", **good | change)
