"""Questions in the forms that people have them in are the same table."""

import gzip
import json

import pyarrow as pa
import pytest
import tiny
from lowrank.assets.tables import read_table
from lowrank.base.errors import LowrankError

ROWS = [
    {"goal": "a, b", "sol1": 'say "x"', "label": 0, "id": "007"},
    {"goal": "two\nlines", "sol1": "", "label": 12, "id": "1"},
    {"goal": "é NA", "sol1": "None", "label": -1, "id": "2024-01-02"},
]
CSV = 'goal,sol1,label,id\n"a, b","say ""x""",0,007\n"two\nlines",,12,1\né NA,None,-1,2024-01-02\n'


def lines(rows):
    return "\n".join(map(json.dumps, rows))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("q.jsonl", lines(ROWS).encode()),
        ("q.ndjson", b"\xef\xbb\xbf" + lines(ROWS).encode() + b"\n\n"),
        ("q.json", json.dumps(ROWS).encode()),
        ("q.JSON", lines(ROWS).encode()),
        ("q.jsonl.gz", gzip.compress(lines(ROWS).encode())),
        ("q.csv", CSV.encode()),
        ("q.csv.gz", gzip.compress(CSV.replace("\r", "").encode())),
        ("q.tsv", b"goal\tlabel\nx\t3\n"),
    ],
)
def test_text_is_read_as_parquet_is(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    found = read_table(tmp_path / name)
    whole = pa.Table.from_pylist(ROWS)
    expected = pa.table({"goal": ["x"], "label": [3]}) if name == "q.tsv" else whole
    assert found.equals(expected)
    assert read_table(tiny.write_parquet(found, tmp_path / "q.parquet")).equals(expected)


def test_nested_columns_and_those_that_the_first_row_lacks(tmp_path):
    rows = tiny.arc_rows(3).to_pylist()
    (tmp_path / "q.jsonl").write_text(lines([*rows, rows[0] | {"more": 1}]))
    found = read_table(tmp_path / "q.jsonl")
    assert found.drop_columns(["more"]).to_pylist() == [*rows, rows[0]]
    assert found["more"].to_pylist() == [None, None, None, 1]


def test_a_page_of_text_in_a_cell(tmp_path):
    page = "long, " * 30_000
    (tmp_path / "q.csv").write_text(f'page\n"{page}"\n')
    assert read_table(tmp_path / "q.csv")["page"].to_pylist() == [page]


def test_views_of_text_are_text(tmp_path):
    """Polars and newer writers of Arrow have them; few operations know them."""
    views = pa.table({"goal": pa.array(["a", None], pa.string_view()), "label": [0, 1]})
    found = read_table(tiny.write_parquet(views, tmp_path / "q.parquet"))
    assert found.equals(pa.table({"goal": ["a", None], "label": [0, 1]}))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("q.parquet", "", "q.parquet is empty"),
        (
            "q.parquet",
            "version https://git-lfs.github.com/spec/v1\noid",
            "LFS pointer, .*lfs pull",
        ),
        ("q.jsonl", "version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
        ("q.parquet", "PAR1 and no more", "q.parquet cannot be read as Parquet .*JSON lines"),
        ("q.questions", lines(ROWS), "q.questions cannot be read as Parquet"),
        ("q.arrow", "x" * 99, "q.arrow cannot be read as arrow"),
        ("q.jsonl", lines(ROWS) + '\n{"goal"', "q.jsonl: line 4 is not JSON"),
        ("q.jsonl", "1\n2", "row 1 is no object"),
        ("q.json", "[]", "q.json has no rows"),
        ("q.json", '[{"a": 1}, 2]', "row 2 is no object"),
        ("q.jsonl", '{"a": 1}\n{"a": "x"}', "the column 'a' holds values of several kinds"),
        ("q.jsonl.gz", "no gzip", "cannot be read as jsonl"),
        ("q.csv", "a,b\n1\n", "line 2 has 1 of 2 columns"),
        ("q.csv", "a,a\n1,2\n", "no list of names of columns"),
        ("q.csv", ",a\n0,x\n1,y\n", "pandas writes an index without a name"),
        ("q.json", "[" * 20_000, "q.json cannot be read as json"),
        ("q.jsonl", '{"a":' * 20_000, "q.jsonl: line 1 is not JSON"),
        ("q.csv", 'a,b\n"1,2\n', "cannot be read as csv"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(LowrankError, match=message) as caught:
        read_table(tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_no_file_is_named(tmp_path):
    (tmp_path / "link.csv").symlink_to("gone.csv")
    with pytest.raises(LowrankError, match=r"link.csv is a link to gone.csv, which is not there"):
        read_table(tmp_path / "link.csv")
    with pytest.raises(LowrankError, match="cannot be read \\(Is a directory\\)"):
        read_table(tmp_path)
