"""A run kept to compare with: record one, and say where another differs from it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lowrank.errors import LowrankError
from lowrank.files import atomic_path, read_json, write_json

SCORES, FITS, CLAIMS, RUN = "scores.csv", "fits.json", "claims.json", "run.json"

KEY = ["model", "study", "series", "label", "benchmark"]

QUESTIONS = 2
"""Questions that may flip: on another processor sums round otherwise, and near ties turn over."""

SHARE = 0.02
"""Or this share of the questions, where that is more."""

SLOPES: Mapping[str, float] = {"latency": 0.15, "energy": 0.15, "power": 0.15, "memory": 0.01}
"""Slopes (percent for each percent of parameters) may differ by this: memory is counted, the rest
depends on how a processor divides its time between arithmetic and memory."""


@dataclass(frozen=True)
class Comparison:
    """What was compared, and what lies outside the allowed variation (one line each)."""

    compared: int
    outside: list[str]


def record_reference(results: str | Path, output: str | Path) -> None:
    """Keep what a run measured: scores, slopes and verdicts.

    Parameters
    ----------
    results
        The run's results folder.
    output
        The folder to write.

    Raises
    ------
    LowrankError
        If the run is not complete.
    """
    output = Path(output)
    with atomic_path(output / SCORES) as temporary:
        _scores(results).to_csv(temporary, index=False, float_format="%.6g")
    write_json(output / FITS, _fits(results))
    write_json(output / CLAIMS, read_json(Path(results) / CLAIMS))


def record_run(
    logs: str | Path, environment: str | Path, results: str | Path, output: str | Path, **facts: Any
) -> None:
    """Keep how long the newest complete run took and what it left on disk.

    Parameters
    ----------
    logs
        Snakemake's folder of logs; its newest log that ends with an elapsed time is read.
    environment, results
        Folders whose bytes are counted.
    output
        The JSON to write.
    **facts
        What else is worth keeping: device, cores, seconds of the set-up.

    Raises
    ------
    LowrankError
        If no log tells of a complete run.
    """
    for path in sorted(Path(logs).glob("*.log"), reverse=True):
        text = path.read_text(encoding="utf-8", errors="replace")
        elapsed = re.search(r"Elapsed time: (\d+):(\d+):(\d+)", text)
        steps = re.findall(r"(\d+) of (\d+) steps \(100%\) done", text)
        if elapsed and steps:
            hours, minutes, seconds = map(int, elapsed.groups())
            break
    else:
        raise LowrankError(f"{logs}: no log of a complete run; run `make reproduce` first")
    write_json(
        output,
        {
            "seconds": 3600 * hours + 60 * minutes + seconds,
            "jobs": int(steps[-1][1]),
            "results_bytes": _bytes(results),
            "environment_bytes": _bytes(environment),
            **facts,
        },
    )


def compare(results: str | Path, reference: str | Path) -> Comparison:
    """Set a run beside a reference.

    Scores may differ by `QUESTIONS` or `SHARE`, slopes by `SLOPES`, verdicts not at all.

    Raises
    ------
    LowrankError
        If either folder is not complete, or the two have nothing in common.
    """
    reference = Path(reference)
    try:
        theirs = pd.read_csv(reference / SCORES, dtype=str, keep_default_na=False)
    except OSError as error:
        raise LowrankError(f"{reference} is no reference ({error}); see paper/reference/") from None
    ours = _scores(results).astype(str)
    both = ours.merge(theirs, on=KEY, suffixes=("", "_reference"))
    if both.empty:
        raise LowrankError(f"{results} and {reference} have no configuration in common")
    outside = list(_score_lines(both))
    slopes = list(_slope_pairs(_fits(results), read_json(reference / FITS)))
    outside += [line for line in slopes if line]
    verdicts = _verdict_pairs(read_json(Path(results) / CLAIMS), read_json(reference / CLAIMS))
    verdict_lines = list(verdicts)
    outside += [line for line in verdict_lines if line]
    return Comparison(len(both) + len(slopes) + len(verdict_lines), outside)


def _scores(results: str | Path) -> pd.DataFrame:
    tables = []
    for path in sorted(Path(results).glob("models/*/studies/*.csv")):
        if path.name.endswith(".profiles.csv"):
            continue
        table = pd.read_csv(path, dtype={"series": str, "label": str})
        table["series"] = table["series"].fillna("")
        tables.append(table.assign(study=path.stem)[[*KEY, "questions", "score"]])
    if not tables:
        raise LowrankError(f"{results} holds no studies; run `make reproduce` first")
    made = pd.concat(tables, ignore_index=True)
    made["score"] = made["score"].map(lambda value: float(f"{value:.6g}"))
    return made


def _fits(results: str | Path) -> list[dict[str, Any]]:
    paths = sorted(Path(results).glob("models/*/studies/*.profile_fits.json"))
    return [{"model": path.parts[-3], **fit} for path in paths for fit in read_json(path)]


def _score_lines(both: pd.DataFrame) -> Iterable[str]:
    for row in both.to_dict("records"):
        what = " ".join(row[key] for key in KEY if row[key])
        asked = int(row["questions"])
        if asked != int(row["questions_reference"]):
            yield f"{what}: {asked} questions, {row['questions_reference']} in the reference"
            continue
        difference = float(row["score"]) - float(row["score_reference"])
        most = max(QUESTIONS / asked, SHARE)
        if abs(difference) > most + 1e-9:
            yield (
                f"{what}: score {float(row['score']):.3f}, {float(row['score_reference']):.3f} in "
                f"the reference (allowed: {most:.3f} either way)"
            )


def _slope_pairs(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> Iterable[str]:
    """Return a line for each slope that both measured; an empty one where they agree."""
    known = {(fit["model"], fit["metric"], fit["workload"]): fit for fit in theirs}
    for fit in ours:
        other = known.get((fit["model"], fit["metric"], fit["workload"]))
        if other is None or "measured" not in (fit["status"], other["status"]):
            continue
        if fit["status"] != other["status"]:
            yield ""  # what one machine cannot measure is no disagreement
            continue
        most = SLOPES[fit["metric"]]
        differ = abs(fit["slope"] - other["slope"]) > most
        yield (
            f"{fit['metric']} of {fit['workload']}: slope {fit['slope']:.2f}, "
            f"{other['slope']:.2f} in the reference (allowed: {most} either way)"
            if differ
            else ""
        )


def _verdict_pairs(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterable[str]:
    known = {row["id"]: row["verdict"] for row in theirs["claims"]}
    for row in ours["claims"]:
        other = known.get(row["id"])
        if other is not None:
            same = row["verdict"] == other
            yield "" if same else f"{row['id']}: {row['verdict']}, {other} in the reference"


def _bytes(folder: str | Path) -> int:
    return sum(
        path.stat().st_size
        for path in Path(folder).rglob("*")
        if path.is_file() and not path.is_symlink()
    )
