"""The reports of a whole run: what they print is there, and the HTML one stands alone."""

import re

import pypdf
import pytest
from workflow_copy import ROOT


def test_every_path_that_the_report_prints_exists(finished):
    document = pypdf.PdfReader(finished.folder / "figures/report/report.pdf")
    text = "".join("".join(page.extract_text().split()) for page in document.pages)
    pattern = r"(?:figures|results|workflow|paper|config|tests)/[\w./-]+?\.(?:csv|json|yaml|py|pdf)"
    printed = sorted(set(re.findall(pattern, text)))
    for name in ("figure_4_1", "figure_4_2", "table_4_2"):
        assert f"figures/tiny/{name}.csv" in printed
    assert "figures/llama-2-7b/table_4_2.csv" in printed
    assert "figures/authors/figure_4_4.csv" in printed
    assert "workflow/scripts/schematic.py" in printed
    missing = [
        path
        for path in printed
        if not (finished.folder / path).is_file() and not (ROOT / path).is_file()
    ]
    assert missing == []


def test_a_run_ends_with_a_line_a_claim(finished):
    """What `make reproduce` prints last, and the file whose lines it names."""
    shown = (finished.folder / "results/claims.txt").read_text().splitlines()
    claims = [line for line in shown if re.match(r"C\d+ ", line)]
    assert len(claims) == 14 and max(map(len, shown)) <= 110
    details = (finished.folder / "results/claims_details.txt").read_text().splitlines()
    for line in claims:
        place = int(line.split()[-1])
        assert details[place - 1].split()[0] == line.split()[0]
    assert "results/claims_details.txt" in " ".join(shown)


@pytest.mark.slow
def test_the_html_report_is_one_file_that_holds_the_ledger(finished, tmp_path):
    output = tmp_path / "report.html"
    finished.run("--report", str(output))
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    text = output.read_text()
    ledger = (finished.folder / "figures/claims/verdicts.csv").read_text()
    assert len(ledger.splitlines()) > 10
    for words in (
        "9% fewer parameters cost",
        "not testable here",
        "This run, Tiny on ",
        "not run yet",
    ):
        assert words in ledger and words in text
    # Its figures are a category of their own, whatever stands for the apostrophe.
    assert re.search(r"The authors(?:'|&#\w+;|\\u0027) data", text)
    assert not re.search(r"""<(?:script|link)[^>]+(?:src|href)=["']https?://""", text)
