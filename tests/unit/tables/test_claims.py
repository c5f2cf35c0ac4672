"""The verdicts on one page, and every test as a table."""

import copy
import csv
import json
from pathlib import Path

import pypdf
import pytest
from lowrank.claims.rendering import TESTS_HEADER, rows_of_tests, rows_of_verdicts
from lowrank.figures.pictures import MOST_BYTES, keep_pictures
from lowrank.tables.claims import render
from made_ledger import made_ledger
from PIL import Image

ROOT = Path(__file__).parents[3]
TEMPLATE = ROOT / "paper/verdicts.typ"


def rendered(ledger, folder):
    names = {name: folder / f"claims.{name}" for name in ("csv", "pdf", "png", "tex")}
    names["verdicts"] = folder / "verdicts.csv"
    render(ledger, TEMPLATE, **names)
    return names


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("claims")


@pytest.fixture(scope="module")
def ledger(folder):
    return made_ledger(folder / "claims.json")


@pytest.fixture(scope="module")
def made(ledger, folder):
    return rendered(folder / "claims.json", folder)


def lines_of(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_the_tables_hold_what_the_ledger_says(ledger, made):
    assert lines_of(made["csv"]) == [list(TESTS_HEADER), *rows_of_tests(ledger)]
    assert lines_of(made["verdicts"]) == rows_of_verdicts(ledger)
    tex = made["tex"].read_text()
    for words in ("25 points [3.44, 46.6]", "0 to 1.5 points", "A CPU", "C7 allowed: Half a point"):
        assert words in tex


def test_the_verdicts_are_one_page_of_a4_with_text_that_can_be_read(ledger, made):
    (page,) = pypdf.PdfReader(made["pdf"]).pages
    width, height = (float(side) / 72 * 25.4 for side in page.mediabox[2:])
    assert width == pytest.approx(210, abs=0.5) and height < 297
    sizes = set()
    page.extract_text(
        visitor_text=lambda text, _, matrix, font, size: (
            sizes.add(round(size * abs(matrix[3]), 1)) if text.strip() else None
        )
    )
    assert min(sizes) >= 7
    text = " ".join(page.extract_text().split())
    for row in ledger["claims"]:
        own = row["scopes"]["run"]
        assert row["title"] in text and own["deciding"]["measured"] in text
    assert "This run: 1 supported, 1 seen here, " in text and "and 6 not testable here" in text
    assert "not run yet (none is kept; a --command makes one)" in text


def test_the_picture_is_small_enough_to_be_kept(made, tmp_path):
    keep_pictures({"claims": made["png"]}, tmp_path)
    assert (tmp_path / "claims.png").stat().st_size <= MOST_BYTES
    with Image.open(tmp_path / "claims.png") as kept:
        assert len(kept.getcolors()) > 16


def test_the_page_takes_more_scopes(ledger, tmp_path):
    ledger = copy.deepcopy(ledger)
    for title in ("Another device", "The authors"):
        ledger["scopes"].append(ledger["scopes"][0] | {"scope": title, "title": title})
        for row in ledger["claims"]:
            row["scopes"][title] = row["scopes"]["run"] | {"verdict": "supported"}
    (tmp_path / "claims.json").write_text(json.dumps(ledger))
    made = rendered(tmp_path / "claims.json", tmp_path)
    (page,) = pypdf.PdfReader(made["pdf"]).pages
    text = " ".join(page.extract_text().split())
    assert "Another device" in text and "The authors" in text
    assert text.count("supported") >= 28
