import pytest
from lowrank.base.files import write_json
from lowrank.tables.sizes import table

ROWS = [{"series": "16 bits", "label": "cut"}, {"series": "", "label": "few"}]


def test_bytes_of_all_numbers_are_counted(tmp_path):
    """A model of 10 million numbers, of which 8 are left, 6 of them with 4.5 bits."""
    parameters = {"dense": 10_000_000, "compressed": 8_000_000}
    codes = int(6e6 * 4.5 / 8)
    facts = {"bits_per_number": 4.5, "relative_error": 0.0944, "fake": True}
    size = {"model": {"16": codes + 4_000_000}, "memory": 32_000_000}
    own = {"facts": facts, "bytes": size, "quantization": {"name": "spqr_like"}}
    files = [tmp_path / "cut.json", tmp_path / "few.json"]
    write_json(files[0], {"parameters": parameters})
    write_json(files[1], {"parameters": parameters} | own)
    made = table("M", "s", ROWS, list(map(str, files)), "float32")
    assert made.rows == [
        ("16 bits, cut", "16 bits", "16", "0", "16.0", "80.0%", "32.0"),
        ("few", "spqr_like (fake)", "4.50", "0.094", "7.4", "36.9%", "32.0"),
    ]


def test_as_many_manifests_as_rows(tmp_path):
    with pytest.raises(ValueError):
        table("M", "s", ROWS, [], "float32")
