import pandas as pd
import pytest
from lowrank.base.files import write_json
from lowrank.tables.sizes import table

ROWS = [{"series": "16 bits", "label": "cut"}, {"series": "", "label": "few"}]


def test_bytes_of_all_numbers_are_counted(tmp_path):
    """A model of 10 million numbers, of which 8 are left, 6 of them with 4.5 bits."""
    parameters = {"dense": 10_000_000, "compressed": 8_000_000}
    cut, few = ({"decomposition": {"name": name}} for name in ("cut", "cut+spqr_like"))
    codes = int(6e6 * 4.5 / 8)
    facts = {"bits_per_number": 4.5, "relative_error": 0.0944, "fake": True}
    size = {"model": {"16": codes + 4_000_000}, "memory": 32_000_000}
    own = {"facts": facts, "bytes": size, "quantization": {"name": "spqr_like"}}
    files = [tmp_path / "cut.json", tmp_path / "few.json"]
    write_json(files[0], {"parameters": parameters} | cut)
    write_json(files[1], {"parameters": parameters} | own | few)
    made = table("M", "s", ROWS, list(map(str, files)), "float32")
    sizes = [
        ("16 bits, cut", "16 bits", "16", "0", "16.0", "80.0%", "32.0"),
        ("few", "spqr_like (fake)", "4.50", "0.094", "7.4", "36.9%", "32.0"),
    ]
    assert made.rows == sizes
    measured = [
        {"decomposition": name, "metric": metric, "workload": "decode", "device": "A CPU"}
        | {"value": value, "ratio": ratio, "ratio_low": 1.9, "ratio_high": 2.125}
        for name, metric, value, ratio in (
            ("dense", "latency", 0.01, 1.0),
            ("cut", "latency", 0.02, 2.0),
            ("cut", "memory", 33e6, 0.8),
            ("cut", "energy", None, None),
        )
    ]
    pd.DataFrame(measured).to_csv(tmp_path / "profiles.csv", index=False)
    made = table("M", "s", ROWS, files, "float32", [tmp_path / "profiles.csv"])
    assert made.header[7:] == ("ms, decode", "of dense, decode", "With cache (MB), decode")
    assert made.rows == [
        (*sizes[0], "20.0", "2.00 [1.90, 2.12]", "33.0"),
        (*sizes[1], "–", "–", "–"),
    ]
    assert any("A CPU" in note for note in made.notes)


def test_as_many_manifests_as_rows(tmp_path):
    with pytest.raises(ValueError):
        table("M", "s", ROWS, [], "float32")
