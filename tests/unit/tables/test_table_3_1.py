"""Sizes of design spaces beside what the thesis prints."""

import pytest
from lowrank.base.errors import LowrankError
from lowrank.project.views.tables import shapes
from lowrank.tables.table_3_1 import dimensions, table
from lowrank.tables.typesetting import mathematics

THESIS = "paper/thesis.yaml"


def test_table_3_1_beside_the_thesis(project):
    names = ("bert-base-uncased", "bert-large-uncased", "llama-2-7b", "llama-2-70b")
    made = table([shapes(project, name) for name in names], THESIS)
    exact = {line[0]: line[1:] for line in made.data[1:]}
    assert exact["bert-base-uncased"][4] == str(4095 * 63 * 768 + 1)
    assert exact["bert-large-uncased"][4] == str((2**24 - 1) * 63 * 1024 + 1)
    assert exact["llama-2-7b"][4] == str((2**32 - 1) * 127 * 4096 + 1)
    assert exact["llama-2-70b"][4] == str((2**80 - 1) * 127 * 1024 + 1)
    assert [row[2:4] for row in made.rows] == [("6", "6"), ("6", "6"), ("5*", "7"), ("5*", "7")]
    scales = [
        ("$2^18$", "$2^18$", "none"),
        ("$2^30$", "$2^30$", "none"),
        ("$2^37$", "$2^39$", "× 4"),
        ("$2^85$", "$2^87$", "× 4"),
    ]
    assert [row[-3:] for row in made.rows] == [tuple(map(mathematics, row)) for row in scales]


def test_dimensions_come_from_the_family(project):
    config = shapes(project, "bert-large-uncased")["architecture"]
    assert dimensions(config) == (24, 6, 1024)
    with pytest.raises(LowrankError, match="the architecture lacks num_hidden_layers, hidden_size"):
        dimensions({"model_type": "bert"})
    with pytest.raises(LowrankError, match="model_type 'gpt2' is not supported"):
        dimensions({"model_type": "gpt2"})
