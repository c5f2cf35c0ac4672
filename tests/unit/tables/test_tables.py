import csv
import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet
import pytest
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml
from lowrank.project.configuration import Project
from lowrank.project.registry import Registry
from lowrank.project.views.tables import shapes, table_4_1_row
from lowrank.tables import table_1_1, table_3_1, table_4_1
from lowrank.tables.typesetting import (
    as_booktabs,
    difference_percent,
    mathematics,
    render_table,
    scientific,
)

THESIS = "paper/thesis.yaml"
MIRROR = Path(os.environ.get("LOWRANK_MIRROR", "../shared/data"))


@pytest.fixture
def project(monkeypatch):
    monkeypatch.setenv("LOWRANK_HUB", "1")
    return Project(read_yaml("config/config.yaml"), "config")


@pytest.fixture
def files(tmp_path):
    return [tmp_path / f"table.{suffix}" for suffix in ("csv", "pdf", "png", "tex")]


@pytest.fixture
def cells(monkeypatch):
    """What is typeset: header, rows and notes, instead of PDF and PNG."""
    seen = {}

    def capture(title, header, rows, alignment, notes, *outputs, groups=(), data=None, **options):
        seen.update(header=header, rows=rows, notes=notes, data=data)
        assert {len(row) for row in rows} == {len(header)} == {len(alignment)}
        assert sum(span for _, span in groups) == len(header)
        assert {len(line) for line in data} == {len(data[0])}

    for module in (table_1_1, table_3_1, table_4_1):
        monkeypatch.setattr(module, "render_table", capture)
    return seen


def test_table_1_1_beside_the_thesis(project, cells):
    models = [shapes(project, name) for name in ("resnet-50", "bert-base-uncased", "llama-2-7b")]
    table_1_1.render(models, THESIS, "", "", "", "")
    resnet, bert, llama = cells["rows"]
    # 25,557,032 · 2 bytes; 4,089,184,256 MACs (see test_macs), 50.2% below 8.21 B.
    assert resnet[2:5] == ["51.1 MB", "51.11 MB", "0.0%"]
    assert resnet[5:8] == ["8.21 B*", "4.09 B", "−50.2%"]
    assert resnet[8:] == ["160.7*", "80.0", "−50.2%"]
    assert bert[2:] == [
        *("219.0 MB", "218.96 MB", "0.0%"),
        *("11.2 B", "11.17 B", "−0.2%"),
        *("51.1", "51.0", "−0.1%"),
    ]
    assert llama[2:] == [
        *("13.4 GB†", "13.48 GB", "+0.6%"),
        *("850.0 B", "850.00 B", "0.0%"),
        *("63.4", "63.1", "−0.5%"),
    ]
    notes = " ".join(cells["notes"])
    assert "make 8.18 B" in notes and "1.27 times that of Llama-2-7B, not 2.53 times" in notes
    assert "268.5 times" in notes and "263.7 times" in notes


def test_table_1_1_leaves_open_what_the_thesis_does_not_print(project, cells):
    table_1_1.render([shapes(project, "bert-large-uncased")], THESIS, "", "", "", "")
    (row,) = cells["rows"]
    assert [row[index] for index in (2, 4, 5, 7, 8, 10)] == ["–"] * 6
    assert len(cells["notes"]) == 2


def test_table_3_1_beside_the_thesis(project, cells):
    names = ("bert-base-uncased", "bert-large-uncased", "llama-2-7b", "llama-2-70b")
    table_3_1.render([shapes(project, name) for name in names], THESIS, "", "", "", "")
    exact = {line[0]: line[1:] for line in cells["data"][1:]}
    assert exact["bert-base-uncased"][4] == str(4095 * 63 * 768 + 1)
    assert exact["bert-large-uncased"][4] == str((2**24 - 1) * 63 * 1024 + 1)
    assert exact["llama-2-7b"][4] == str((2**32 - 1) * 127 * 4096 + 1)
    assert exact["llama-2-70b"][4] == str((2**80 - 1) * 127 * 1024 + 1)
    assert [row[2:4] for row in cells["rows"]] == [("6", "6"), ("6", "6"), ("5*", "7"), ("5*", "7")]
    scales = [
        ("$2^18$", "$2^18$", "none"),
        ("$2^30$", "$2^30$", "none"),
        ("$2^37$", "$2^39$", "× 4"),
        ("$2^85$", "$2^87$", "× 4"),
    ]
    assert [row[-3:] for row in cells["rows"]] == [tuple(map(mathematics, row)) for row in scales]


def test_dimensions_come_from_the_family(project):
    config = shapes(project, "bert-large-uncased")["architecture"]
    assert table_3_1.dimensions(config) == (24, 6, 1024)
    with pytest.raises(LowrankError, match="the architecture lacks num_hidden_layers, hidden_size"):
        table_3_1.dimensions({"model_type": "bert"})
    with pytest.raises(LowrankError, match="model_type 'gpt2' is not supported"):
        table_3_1.dimensions({"model_type": "gpt2"})


def manifest(folder, name, questions):
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"benchmark": name, "questions": questions}))
    return path


def test_table_4_1_counts(project, cells, tmp_path):
    project.settings["benchmarks"]["mmlu"]["limit"] = 114
    del project.benchmarks["truthfulqa"]
    names = ("arc_easy", "mmlu", "truthfulqa", "hellaswag")
    sizes = {"arc_easy": 2376, "mmlu": 14042, "hellaswag": 10042}
    table_4_1.render(
        [table_4_1_row(project, name) for name in names],
        [manifest(tmp_path, name, size) for name, size in sizes.items()],
        THESIS,
        *("", "", "", ""),
    )
    assert [row[4:] for row in cells["rows"]] == [
        ("5.2K", "5,197", "test", "2,376", "2,376"),
        ("15.9K", "15,858", "test", "14,042", "114"),
        ("1634†", "1,634", "validation", "–", "not used here"),
        ("10K*", "59,950", "validation", "10,042", "10,042"),
    ]
    assert cells["rows"][1][2] == "mmlu_* (57 subjects)"
    assert cells["rows"][2][2] == "truthfulqa_mc2"
    notes = " ".join(cells["notes"])
    assert "ARC-Easy 2,251 (train) + 570 (validation) + 2,376 (test);" in notes
    assert "its table lists 7; this run uses 3" in notes and "‡" not in notes


def test_a_benchmark_that_the_thesis_does_not_have(project, cells, tmp_path):
    row = table_4_1_row(project, "arc_easy") | {"name": "own", "splits": [], "limit": 50}
    table_4_1.render([row], [manifest(tmp_path, "own", 20)], THESIS, "", "", "", "")
    assert cells["rows"][0][4:] == ("–", "–", "test", "20", "20")


def test_a_missing_manifest_is_named(project):
    row = table_4_1_row(project, "arc_easy")
    with pytest.raises(LowrankError, match="there is no manifest of benchmark arc_easy"):
        table_4_1.render([row], [], THESIS, "", "", "", "")


def test_the_thesis_counts_every_split(project):
    printed = {"arc_easy": 5200, "arc_challenge": 2590, "mmlu": 15900, "truthfulqa": 1634}
    for name, samples in printed.items():
        total = sum(project.benchmark(name)["splits"].values())
        digits = len(str(samples).rstrip("0"))
        assert float(f"{total:.{digits - 1}e}") == samples
    for name in project.benchmarks:
        entry = project.benchmark(name)
        assert name not in printed or entry["questions"] in entry["splits"].values()


@pytest.mark.skipif(not MIRROR.is_dir(), reason=f"no local mirror at {MIRROR}")
@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("arc_easy", "arc/ARC-Easy/{split}.parquet"),
        ("arc_challenge", "arc/ARC-Challenge/{split}.parquet"),
        ("hellaswag", "hellaswag/{split}.parquet"),
        ("winogrande", "winogrande/{split}.parquet"),
        ("mmlu", "mmlu/*/{split}.parquet"),
        ("gsm8k", "gsm8k/{split}.parquet"),
    ],
)
def test_splits_are_those_of_the_files(project, name, pattern):
    compared = 0
    for split, size in project.benchmark(name)["splits"].items():
        found = sorted(MIRROR.glob(pattern.format(split=split)))
        if found:  # unlabelled test splits are in no mirror
            assert sum(pyarrow.parquet.read_metadata(path).num_rows for path in found) == size
            compared += 1
    assert compared


def test_shapes_of_models_and_architectures(project):
    model = read_yaml("config/models/llama-2-7b.yaml")
    assert shapes(project, "llama-2-7b")["architecture"] == model["architecture"]
    assert shapes(project, "resnet-50")["label"] == "ResNet50"
    for path in project.registry.folder.glob("architectures/*.yaml"):
        assert not (project.registry.folder / "models" / path.name).exists() or (
            read_yaml(path)["architecture"]
            == read_yaml(project.registry.folder / "models" / path.name)["architecture"]
        )
    with pytest.raises(LowrankError, match="resnet-5.yaml does not exist; did you mean"):
        shapes(project, "resnet-5")


def test_a_wrong_architecture_file_is_one_line(project, tmp_path):
    shutil.copytree("config", tmp_path / "config")
    project.registry = Registry(tmp_path / "config")
    path = project.registry.folder / "architectures" / "resnet-50.yaml"
    path.write_text(path.read_text() + "sources: []\n")
    with pytest.raises(LowrankError, match="resnet-50.yaml: sources: unknown key"):
        shapes(project, "resnet-50")


def test_a_table_as_files(files):
    rows = [(mathematics("a$b^2$"), "#x*_1_*"), ("$(c", "2")]
    options = {"groups": [("", 1), ("Group", 1)]}
    render_table(
        "T", ("A", mathematics("$B$")), rows, ("left", "wide"), ["It's."], *files, **options
    )
    with open(files[0], newline="") as file:
        assert list(csv.reader(file)) == [["A", "$B$"], ["a$b^2$", "#x*_1_*"], ["$(c", "2"]]
    first = [path.read_bytes() for path in files]
    assert first[1].startswith(b"%PDF") and first[2].startswith(b"\x89PNG")
    render_table(
        "T", ("A", mathematics("$B$")), rows, ("left", "wide"), ["It's."], *files, **options
    )
    assert [path.read_bytes() for path in files] == first
    render_table("T", ("A",), [("a",)], ("left",), [], *files, data=[("x", "y"), ("1", "2")])
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
    text = as_booktabs(header, rows, ["left", "right"], notes, [("both", 2)])
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


def test_every_mark_of_a_latex_table_has_its_note(project, tmp_path, files):
    names = ("resnet-50", "bert-base-uncased", "llama-2-7b")
    table_1_1.render([shapes(project, name) for name in names], THESIS, *files)
    one = files[3].read_text()
    spaces = [tmp_path / f"spaces.{suffix}" for suffix in ("csv", "pdf", "png", "tex")]
    table_3_1.render([shapes(project, "llama-2-7b")], THESIS, *spaces)
    for text in (one, spaces[3].read_text()):
        table, notes = text.split(r"\end{tabular}")
        assert table.count("*") and "\n* " in notes
        assert (r"\dag{}" in table) == (r"\dag{}" in notes)
        assert text.isascii()
