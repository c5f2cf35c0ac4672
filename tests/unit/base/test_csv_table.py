"""Names in tables are text, whatever they look like; other columns are numbers."""

import pandas as pd
import pytest
from lowrank.base.csv_table import read_table

NAMES = ["9", "1.50", "010", "NA", "nan", "null", "true", "2024-01-01", "-inf", " a", ""]


@pytest.mark.parametrize("column", ["label", "series", "benchmark", "benchmark_label", "model"])
def test_names_come_back_as_they_were(tmp_path, column):
    path = tmp_path / "t.csv"
    pd.DataFrame({column: NAMES, "score": range(len(NAMES))}).to_csv(path, index=False)
    table = read_table(path)
    assert list(table[column]) == NAMES and list(table["score"]) == list(range(len(NAMES)))
    numbers = pd.DataFrame({column: ["7", "8"], "score": [1.5, None], "rank": [1, 2]})
    numbers.to_csv(path, index=False)
    table = read_table(path)
    assert list(table[column]) == ["7", "8"] and table["score"].isna().tolist() == [False, True]
    assert table["rank"].tolist() == [1, 2]
