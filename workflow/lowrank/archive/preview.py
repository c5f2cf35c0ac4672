"""The page of an archive that a person opens first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from lowrank.archive.contents import LARGEST, LEFT_OUT, SOURCE, Packed
from lowrank.archive.jobs import Job
from lowrank.claims.verdict_names import RUN_SCOPE

_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "td,th{text-align:left;vertical-align:top;padding:.2em 1em .2em 0}"
)


def render(
    citation: Mapping[str, Any],
    ledger: Mapping[str, Any],
    packed: Sequence[Packed],
    jobs: Sequence[Job],
    results: str,
    figures: str,
) -> str:
    """Return an HTML page that says what is inside, what it shows, and how to go on.

    Parameters
    ----------
    citation
        The content of `CITATION.cff`.
    ledger
        The content of the run's `claims.json`.
    packed
        The files of the archive.
    jobs
        The jobs that made them.
    results, figures
        The folders of the run's results and figures.
    """
    title = f"Results of: {citation['title']}"
    scope = next(scope for scope in ledger["scopes"] if scope["scope"] == RUN_SCOPE)
    verdicts = [
        (claim["id"], claim["title"], claim["scopes"][RUN_SCOPE]["verdict"])
        for claim in ledger["claims"]
    ]
    names = {file.name for file in packed}
    inside = [(path, says) for path, says in _inside(results, figures) if _has(names, path)]
    bytes_by_part = _sizes(packed)
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{len(packed)} files of {len(jobs)} jobs, from {jobs[0].started:%Y-%m-%d %H:%M} to "
        f"{max(job.ended for job in jobs):%Y-%m-%d %H:%M} UTC. Judged: "
        f"{escape(scope['holds_for'] or scope['title'])}.</p>",
        "<h2>What is inside</h2>",
        _table(("path", "what it is"), [(_link(path), escape(says)) for path, says in inside]),
        "<h2>What the run says of each claim</h2>",
        _table(("claim", "title", "verdict"), [tuple(map(escape, row)) for row in verdicts]),
        "<h2>Figures and tables</h2>",
        "<ul>",
        *(f"<li>{_link(name)}</li>" for name in sorted(names) if _is_picture(name, figures)),
        "</ul>",
        "<h2>Sizes</h2>",
        _table(("folder", "MB"), [(part, f"{size / 1e6:.1f}") for part, size in bytes_by_part]),
        "<h2>How it was made, and how to go on</h2>",
        "<p><code>ro-crate-metadata.json</code> describes every file with its checksum, and every "
        "job with its command, times, inputs and outputs (a Provenance Run Crate). "
        f"<code>{SOURCE}/</code> holds the workflow as it was when this was packed. After "
        f"<code>cp -a {SOURCE}/. .</code> the command of the run finds nothing to run again here. "
        "Left out: "
        + "; ".join(
            f"<code>{name}/</code> ({escape(reason.replace('<path>', '…'))})".replace("`", "")
            for name, reason in LEFT_OUT.items()
        )
        + f"; files of more than {LARGEST // 10**6} MB. "
        "Models, questions and texts are under their authors' licences.</p>",
    ]
    head = f"<meta charset='utf-8'><title>{escape(title)}</title><style>{_STYLE}</style>"
    body = "\n".join(parts)
    return f"<!DOCTYPE html>\n<html lang='en'><head>{head}</head><body>\n{body}\n</body></html>\n"


def _inside(results: str, figures: str) -> list[tuple[str, str]]:
    return [
        (f"{figures}/report/report.pdf", "the report: begin here"),
        (f"{results}/claims.txt", "the verdict on each claim, a line each"),
        (f"{results}/claims_details.txt", "the tests behind each verdict"),
        (f"{results}/claims.json", "the same for programs, with intervals and provenance"),
        (f"{figures}/", "figures and tables: PDF, PNG, CSV and LaTeX"),
        (f"{results}/", "scores, measurements, compressed models, manifests"),
        (f"{SOURCE}/README.md", "how the workflow is run"),
        (f"{SOURCE}/figures/README.md", "what each figure and table shows"),
        (f"{SOURCE}/docs/architecture.md", "what each file of the results is"),
        (f"{SOURCE}/", "the workflow, its configuration and its pinned packages"),
        (".snakemake/metadata/", "Snakemake's records of the jobs"),
    ]


def _has(names: set[str], path: str) -> bool:
    return path in names or any(name.startswith(path) for name in names if path.endswith("/"))


def _sizes(packed: Sequence[Packed]) -> list[tuple[str, int]]:
    """Return the bytes of each folder at the top, by its name."""
    sizes: dict[str, int] = {}
    for file in packed:
        part = Path(file.name).parts[0]
        sizes[part] = sizes.get(part, 0) + file.path.stat().st_size
    return sorted(sizes.items())


def _is_picture(name: str, figures: str) -> bool:
    return name.startswith(f"{figures}/") and name.endswith(".pdf")


def _link(path: str) -> str:
    return f"<a href='{escape(path, quote=True)}'>{escape(path)}</a>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of cells that are HTML already."""
    lines = ["".join(f"<th>{cell}</th>" for cell in head)]
    lines += ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    return "<table>" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
