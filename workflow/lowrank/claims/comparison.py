"""A run kept to compare with: record one, and say where another differs from it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lowrank.base.csv_table import read_table
from lowrank.base.errors import LowrankError
from lowrank.base.files import atomic_path, read_json, write_json
from lowrank.base.metric import Metric, in_the_mean
from lowrank.base.names import AGGREGATE, PLAN
from lowrank.claims.verdict_names import (
    CONTRADICTED,
    NOT_SEEN,
    NOT_TESTABLE,
    RUN_SCOPE,
    SEEN,
    SUPPORTED,
    TRIVIAL,
    TRIVIALLY_SEEN,
)

SCORES, FITS, CLAIMS, RUN = "scores.csv", "fits.json", "claims.json", "run.json"

KEY = ["model", "study", "series", "label", "benchmark"]

SCORE_COLUMNS = [*KEY, "questions", "score"]
"""What a reference keeps of each score."""

QUESTIONS = 2
"""Questions that may flip: on another processor sums round otherwise, and near ties turn over."""

SHARE = 0.02
"""Or this share of the questions, where that is more. A score that is no share of answers, a
perplexity say, moves with every question a little: it may differ by this share of itself."""

SLOPES: Mapping[str, float] = {
    **dict.fromkeys(("latency", "energy", "power", "fine-tuning memory"), 0.15),
    "memory": 0.01,
}
"""Slopes (percent for each percent of parameters) may differ by this: memory is counted, the rest
depends on how a processor divides its time between arithmetic and memory."""


@dataclass(frozen=True)
class Comparison:
    """What was compared.

    Attributes
    ----------
    compared
        How many numbers and verdicts.
    outside
        What lies outside the allowed variation, one line each.
    noted
        Tests of claims that became undecided or decided: at the edge of an interval the last
        question decides, and the scores behind it are compared themselves.
    """

    compared: int
    outside: list[str]
    noted: list[str]


def record_reference(results: str | Path, output: str | Path) -> None:
    """Keep what a run measured: scores, slopes and verdicts, and its plan of looks if it has one.

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
        _scores(results)[SCORE_COLUMNS].to_csv(temporary, index=False, float_format="%.6g")
    write_json(output / FITS, _fits(results))
    write_json(output / CLAIMS, read_json(Path(results) / CLAIMS))
    if (plan := Path(results) / PLAN).exists():
        write_json(output / PLAN, read_json(plan))


def record_run(
    logs: str | Path,
    seconds: Mapping[str, str | Path],
    folders: Mapping[str, str | Path],
    machine: Mapping[str, Any],
    output: str | Path,
) -> None:
    """Keep how long set-up, tests and whole runs took on this machine, and what they left on disk.

    Parameters
    ----------
    logs
        Snakemake's folder of logs. Of each scale the complete run with the most jobs counts, the
        newest of several: one that was resumed did only a part.
    seconds
        From `set_up` and `tests` to the file that holds the seconds they took.
    folders
        From `environment` and the scales (`laptop`, …) to folders whose bytes are counted.
    machine
        What ran it: `device`, `cores`, `platform`.
    output
        The JSON to write: `machine`; `set_up` with `seconds` and `environment_bytes`; `tests` with
        `seconds`; `runs`, from a scale to its `seconds`, `jobs`, `cores` and `results_bytes`. What
        was not run is absent.

    Raises
    ------
    LowrankError
        If no log tells of a complete run.
    """
    runs: dict[str, dict[str, int]] = {}
    for path in sorted(Path(logs).glob("*.log")):
        scale, run = _run_of(path.read_text(encoding="utf-8", errors="replace"))
        if run and run["jobs"] >= runs.get(scale, run)["jobs"]:
            runs[scale] = run
    if not runs:
        raise LowrankError(f"{logs}: no log of a complete run; run `make reproduce` first")
    others = [Path(folder) for folder in folders.values()]
    for scale, run in runs.items():
        if scale in folders and Path(folders[scale]).is_dir():
            run["results_bytes"] = _bytes(folders[scale], others)
    taken: dict[str, dict[str, int]] = {
        name: {"seconds": int(Path(path).read_text(encoding="utf-8"))}
        for name, path in seconds.items()
        if Path(path).is_file()
    }
    taken.setdefault("set_up", {})["environment_bytes"] = _bytes(folders["environment"])
    write_json(output, {"machine": dict(machine), **taken, "runs": runs})


def _run_of(log: str) -> tuple[str, dict[str, int]]:
    """Return the scale of a run and what its log says of it; nothing if it was not completed."""
    command = re.search(r"^ *Command: (.*)$", log, re.MULTILINE)
    elapsed = re.search(r"^Elapsed time: (\d+):(\d+):(\d+)", log, re.MULTILINE)
    total = re.search(r"^total +(\d+)$", log, re.MULTILINE)
    cores = re.search(r"^Provided cores: (\d+)", log, re.MULTILINE)
    if not (command and elapsed and total and cores and "(100%) done" in log):
        return "", {}
    scales = re.findall(r"config/(\w+)\.yaml", command[1]) or ["paper"]
    hours, minutes, seconds = map(int, elapsed.groups())
    taken = 3600 * hours + 60 * minutes + seconds
    return scales[-1], {"seconds": taken, "jobs": int(total[1]), "cores": int(cores[1])}


def compare(results: str | Path, reference: str | Path) -> Comparison:
    """Set a run beside a reference.

    Scores may differ by `QUESTIONS` or `SHARE`, as their metric has it, an aggregate by the mean of
    what its benchmarks may; slopes by `SLOPES`; no test may turn from supported to contradicted or
    back. What the reference has and the run lacks is outside; what only the run has is not
    compared.

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
    ours = _scores(results)
    ours = ours.astype(dict.fromkeys(SCORE_COLUMNS, str))
    rows = ours.merge(theirs, on=KEY, how="right", suffixes=("", "_reference"), indicator=True)
    both = rows[rows["_merge"] == "both"]
    if both.empty:
        raise LowrankError(f"{results} and {reference} have no configuration in common")
    missing = rows[rows["_merge"] == "right_only"]
    outside = [f"{_named(row)}: missing in this run" for row in missing.to_dict("records")]
    outside += _score_lines(both)
    slopes = list(_slope_pairs(_fits(results), read_json(reference / FITS)))
    outside += [line for line in slopes if line]
    ledgers = (read_json(Path(results) / CLAIMS), read_json(reference / CLAIMS))
    try:
        pairs = list(_verdict_pairs(*ledgers))
    except KeyError as error:
        raise LowrankError(
            f"{reference / CLAIMS} has no {error}: another version of the workflow wrote it; "
            "record the reference anew (`make reference`)"
        ) from None
    outside += [line for line, is_opposite in pairs if is_opposite]
    noted = [line for line, is_opposite in pairs if line and not is_opposite]
    return Comparison(len(rows) + len(slopes) + len(pairs), outside, noted)


def _scores(results: str | Path) -> pd.DataFrame:
    tables = []
    for path in sorted(Path(results).glob("models/*/studies/*.csv")):
        if path.name.endswith(".profiles.csv"):
            continue
        table = read_table(path)
        table["metric"] = [Metric.from_record(row) for _, row in table.iterrows()]
        tables.append(table.assign(study=path.stem)[[*SCORE_COLUMNS, "metric"]])
    if not tables:
        raise LowrankError(f"{results} holds no studies; run `make reproduce` first")
    made = pd.concat(tables, ignore_index=True)
    made["score"] = made["score"].map(lambda value: float(f"{value:.6g}"))
    return made


def _fits(results: str | Path) -> list[dict[str, Any]]:
    paths = sorted(Path(results).glob("models/*/studies/*.profile_fits.json"))
    return [{"model": path.parts[-3], **fit} for path in paths for fit in read_json(path)]


def _named(row: Mapping[str, Any]) -> str:
    return " ".join(row[key] for key in KEY if row[key])


def _score_lines(both: pd.DataFrame) -> Iterable[str]:
    """Return a line for each score outside of what it may differ by."""
    rows = both.to_dict("records")
    parts: dict[tuple[str, ...], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        if row["benchmark"] != AGGREGATE:
            parts.setdefault(_configuration(row), {})[row["benchmark"]] = row
    for row in rows:
        asked = int(row["questions"])
        if asked != int(row["questions_reference"]):
            yield f"{_named(row)}: {asked} questions, {row['questions_reference']} in the reference"
            continue
        averaged = [row]
        if row["benchmark"] == AGGREGATE:
            own = parts.get(_configuration(row), {})
            names = in_the_mean({name: part["metric"] for name, part in own.items()})
            averaged = [own[name] for name in names] or averaged
        most = sum(map(_tolerance, averaged)) / len(averaged)
        # Not `>`: a score that is no number differs, too.
        if not abs(float(row["score"]) - float(row["score_reference"])) <= most + 1e-9:
            yield (
                f"{_named(row)}: score {float(row['score']):.3f}, "
                f"{float(row['score_reference']):.3f} in the reference "
                f"(allowed: {most:.3f} either way)"
            )


def _configuration(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(row[key] for key in KEY if key != "benchmark")


def _tolerance(row: Mapping[str, Any]) -> float:
    if row["metric"].is_share:
        return max(QUESTIONS / int(row["questions"]), SHARE)
    return SHARE * abs(float(row["score_reference"]))


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
        differ = not abs(fit["slope"] - other["slope"]) <= most
        yield (
            f"{fit['metric']} of {fit['workload']}: slope {fit['slope']:.2f}, "
            f"{other['slope']:.2f} in the reference (allowed: {most} either way)"
            if differ
            else ""
        )


def _verdict_pairs(
    ours: Mapping[str, Any], theirs: Mapping[str, Any]
) -> Iterable[tuple[str, bool]]:
    """Return for each test that both could make a line where they differ, and if they are opposed.

    What one machine cannot test is no disagreement.
    """
    known = dict(_test_verdicts(theirs))
    for key, verdict in _test_verdicts(ours):
        other = known.get(key, NOT_TESTABLE)
        verdicts = {verdict, other}
        if NOT_TESTABLE in verdicts:
            continue
        claim, says = key
        line = f"{claim}, {says}: {verdict}, {other} in the reference"
        is_opposite = bool(verdicts & _FOR) and bool(verdicts & _AGAINST)
        yield line if len(verdicts) > 1 else "", is_opposite


_FOR, _AGAINST = {SUPPORTED, TRIVIAL, SEEN, TRIVIALLY_SEEN}, {CONTRADICTED, NOT_SEEN}


def _test_verdicts(ledger: Mapping[str, Any]) -> Iterable[tuple[tuple[str, str], str]]:
    """Yield the verdict of every test on the run, by its claim and what it says."""
    for row in ledger["claims"]:
        for test in row["scopes"][RUN_SCOPE]["tests"]:
            yield (row["id"], test["says"]), test["verdict"]


def _bytes(folder: str | Path, others: Iterable[Path] = ()) -> int:
    """Return the bytes below a folder, less those of other folders that lie in it."""
    inside = [other for other in others if Path(folder) in other.parents]
    return sum(
        path.stat().st_size
        for path in Path(folder).rglob("*")
        if path.is_file() and not path.is_symlink() and not any(o in path.parents for o in inside)
    )
