"""Every number that the text of the report states, gathered from the results with its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lowrank.design_space import DENSE
from lowrank.files import read_json, write_json
from lowrank.results import AGGREGATE, CONTROL_METHOD


def gather_facts(
    models: Sequence[Mapping[str, Any]],
    tables: Mapping[str, str | Path],
    output: str | Path,
) -> None:
    """Write what the report's text says in numbers.

    Parameters
    ----------
    models
        For each model of the run `model`, `label`, `parameters`, `layers`, `manifest` (its path),
        `studies` (a list of `study`, `title`, `figure`, `look_for`, `table`) and `fits` (a path or
        None).
    tables
        Paths of the CSVs of Table 1.1 and Table 3.1, by name.
    output
        The JSON to write. Every entry names the file that it was read from.
    """
    write_json(
        output,
        {
            "models": [_model(entry) for entry in models],
            "tables": {name: _records(path) for name, path in tables.items()},
        },
    )


def _model(entry: Mapping[str, Any]) -> dict[str, Any]:
    manifest = read_json(entry["manifest"])
    studies = [_study(study) for study in entry["studies"]]
    first = Path(entry["studies"][0]["table"]).parents[1] / "evaluations" / DENSE
    dense = read_json(sorted(first.glob("*.json"))[0])
    return {
        "model": entry["model"],
        "label": entry["label"],
        "parameters": entry["parameters"],
        "layers": entry["layers"],
        "source": manifest["source"],
        "device": dense["provenance"]["device_name"],
        "dtype": dense["settings"]["dtype"],
        "seed": dense["settings"]["seed"],
        "sampling": dense["settings"]["sampling"],
        "versions": dense["provenance"]["versions"],
        "code": dense["provenance"]["code_sha256"],
        "benchmarks": _benchmarks(entry["studies"]),
        "studies": studies,
        "fits": read_json(entry["fits"]) if entry["fits"] else [],
        "fits_file": entry["fits"],
    }


def _benchmarks(studies: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the dense model's score on each benchmark that any study asks."""
    made: dict[str, dict[str, Any]] = {}
    for study in studies:
        table = _read(study["table"])
        dense = table[(table["decomposition"] == DENSE) & (table["benchmark"] != AGGREGATE)]
        for row in dense.to_dict("records"):
            kept = ("benchmark_label", "metric", "questions", "questions_available")
            kept += ("score", "score_low", "score_high")
            own = {key: row[key] for key in kept} | {"file": str(study["table"])}
            made.setdefault(row["benchmark"], own)
    return list(made.values())


def _study(study: Mapping[str, Any]) -> dict[str, Any]:
    table = _read(study["table"])
    whole = table[table["benchmark"] == AGGREGATE]
    kept = ["series", "label", "parameter_reduction_percent", "score", "score_low", "score_high"]
    kept += ["score_difference", "score_difference_low", "score_difference_high"]
    decomposed = whole[~whole["method"].isin((DENSE, CONTROL_METHOD))]
    by_loss = decomposed.sort_values("score_difference", kind="stable")
    beyond_chance = decomposed["score_difference_high"] < 0
    return {
        "study": study["study"],
        "title": study["title"],
        "figure": study["figure"],
        "look_for": study["look_for"],
        "file": str(study["table"]),
        "questions": int(whole["questions"].iloc[0]),
        "dense": _plain(whole[whole["decomposition"] == DENSE][kept])[0],
        "rows": _plain(decomposed[kept]),
        "worst": _plain(by_loss[kept].head(3)),
        "configurations": len(decomposed),
        "worse_beyond_chance": int(beyond_chance.sum()),
        "control": _control(whole),
    }


def _control(whole: pd.DataFrame) -> dict[str, Any] | None:
    """Count where leaving layers out is better or worse than decomposing them, beyond chance."""
    rows = whole[whole["method"] == CONTROL_METHOD]
    if rows.empty:
        return None
    made: dict[str, Any] = {"configurations": len(rows)}
    for metric in ("score", "log_probability"):
        name = f"{metric}_over_decomposed"
        if name in rows:
            better = int((rows[f"{name}_low"] > 0).sum())
            worse = int((rows[f"{name}_high"] < 0).sum())
            made[metric] = {
                "better": better,
                "worse": worse,
                "undecided": len(rows) - better - worse,
            }
    return made


def _records(path: str | Path) -> dict[str, Any]:
    return {"file": str(path), "rows": _plain(pd.read_csv(path))}


def _read(path: str | Path) -> pd.DataFrame:
    table = pd.read_csv(path, dtype={"series": str, "label": str})
    table["series"] = table["series"].fillna("")
    return table


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as plain values; what is missing is None."""
    return [
        {key: None if pd.isna(value) else value for key, value in row.items()}
        for row in table.to_dict("records")
    ]
