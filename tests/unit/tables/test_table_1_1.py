"""Sizes and computations beside what the thesis prints."""

from lowrank.project.views.tables import shapes
from lowrank.tables.table_1_1 import table

THESIS = "paper/thesis.yaml"


def test_table_1_1_beside_the_thesis(project):
    models = [shapes(project, name) for name in ("resnet-50", "bert-base-uncased", "llama-2-7b")]
    made = table(models, THESIS)
    resnet, bert, llama = made.rows
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
    notes = " ".join(made.notes)
    assert "make 8.18 B" in notes and "1.27 times that of Llama-2-7B, not 2.53 times" in notes
    assert "268.5 times" in notes and "263.7 times" in notes


def test_table_1_1_leaves_open_what_the_thesis_does_not_print(project):
    made = table([shapes(project, "bert-large-uncased")], THESIS)
    (row,) = made.rows
    assert [row[index] for index in (2, 4, 5, 7, 8, 10)] == ["–"] * 6
    assert len(made.notes) == 2
