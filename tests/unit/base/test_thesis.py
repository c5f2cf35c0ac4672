import pytest
from lowrank.base.errors import LowrankError
from lowrank.base.thesis import quantity, read_thesis

THESIS = "paper/thesis.yaml"


@pytest.mark.parametrize(
    ("printed", "value"),
    [("51.1 MB", 51.1e6), ("13.4 GB", 13.4e9), ("8.21 B", 8.21e9), ("5.2K", 5200), (160.7, 160.7)],
)
def test_printed_quantities(printed, value):
    assert quantity(printed) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("printed", ["", "MB", "5 TB", "1,634", "2^18", "5.2 k"])
def test_what_is_no_quantity(printed):
    with pytest.raises(LowrankError, match="is not a number with a unit of K, MB, B, GB"):
        quantity(printed)


def test_every_printed_quantity_can_be_read():
    for table in ("table_1_1", "table_4_1"):
        for row in read_thesis(THESIS, table).values():
            assert all(quantity(value) > 0 for value in row.values())


def test_the_ratios_follow_from_the_thesis_s_own_columns():
    for row in read_thesis(THESIS, "table_1_1").values():
        assert quantity(row["macs"]) / quantity(row["size"]) == pytest.approx(
            row["ratio"], abs=0.06
        )


def test_the_scales_follow_from_the_thesis_s_own_columns():
    for row in read_thesis(THESIS, "table_3_1").values():
        assert row["exponent"] == row["layers"] + row["tensors"]


def test_a_place_that_is_not_there(tmp_path):
    with pytest.raises(LowrankError, match="thesis.yaml: table_9_9 is missing"):
        read_thesis(THESIS, "table_9_9")
    (tmp_path / "empty.yaml").touch()
    with pytest.raises(LowrankError, match="table_1_1 is missing"):
        read_thesis(tmp_path / "empty.yaml", "table_1_1")
