"""Every number that the text of the report states, gathered from the results with its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lowrank.analyse.answers import resample
from lowrank.base.csv_table import read_table
from lowrank.base.evaluations import benchmark_result, result_path
from lowrank.base.files import read_json, write_json
from lowrank.base.metric import Metric, in_the_mean
from lowrank.base.names import AGGREGATE, DENSE, DROP
from lowrank.base.paired import differences_from_first, mean_contrasts
from lowrank.base.statistics import CONFIDENCE, RESAMPLES, bootstrap_p_values, holm
from lowrank.claims.comparison import QUESTIONS, SHARE, SLOPES
from lowrank.paper.deviations import deviations
from lowrank.paper.inconsistencies import inconsistencies


def gather_facts(
    models: Sequence[Mapping[str, Any]],
    tables: Mapping[str, str | Path],
    run: Mapping[str, Any],
    thesis: str | Path,
    published: str | Path,
    output: str | Path,
) -> None:
    """Write what the report's text says in numbers.

    Parameters
    ----------
    models
        For each model of the run `model`, `label`, `parameters`, `layers`, `width`, `quantized`
        (from the source of quantized weights, as a manifest names it, to the file), `manifest` (its
        path), `evaluations` (their folder), `benchmarks` (of each that is asked its name,
        `benchmark`, `label`, `metric` as a record, and how its score `differs` from the thesis's),
        `studies` (of each its name, `study`, its entry's `title`, `source`,
        `figure`, `look_for`, `depth` and `width`, whether its layers are `carried_over`, and the
        path of its `table`) and
        `fits` (a path or None).
    tables
        Paths of the CSVs of Table 1.1 and Table 3.1, and of Table 4.2 of the thesis's model where
        the run makes it, by name.
    run
        See `lowrank.paper.deviations.deviations`.
    thesis
        The file that holds what the thesis prints.
    published
        The folder of what the thesis's authors published.
    output
        The JSON to write. Every entry names the file that it was read from.
    """
    gathered = [_model(entry) for entry in models]
    records = {name: _records(path) for name, path in tables.items()}
    write_json(
        output,
        {
            "models": gathered,
            "tables": records,
            "run": run,
            "confidence_percent": round(100 * CONFIDENCE),
            "resamples": RESAMPLES,
            "allowed_variation": {
                "questions": QUESTIONS,
                "share_percent": round(100 * SHARE, 6),
                "slopes": SLOPES,
            },
            "deviations": deviations(gathered, run, thesis),
            "inconsistencies": inconsistencies(
                thesis,
                {name: record["rows"] for name, record in records.items()},
                published,
            ),
        },
    )


def _model(entry: Mapping[str, Any]) -> dict[str, Any]:
    manifest = read_json(entry["manifest"])
    folder = entry["evaluations"]
    dense = [benchmark_result(folder, DENSE, own["benchmark"]) for own in entry["benchmarks"]]
    asked = pd.concat([read_table(study["table"]) for study in entry["studies"]])
    counts = asked.groupby("benchmark")["questions"].agg(["min", "max"])
    first = dense[0]
    kept = ("model", "label", "parameters", "layers", "width")
    return {key: entry[key] for key in kept} | {
        "source": manifest["source"],
        "random_weights": manifest["random_weights"],
        "quantized": entry["quantized"].get(manifest["source"]),
        "device": first["provenance"]["device_name"],
        "platform": first["provenance"]["platform"],
        **{key: first["settings"][key] for key in ("dtype", "seed", "sampling")},
        "versions": first["provenance"]["versions"],
        "code": first["provenance"]["code_sha256"],
        "benchmarks": [
            {
                **_benchmark(own, result),
                "questions_least": int(counts["min"][own["benchmark"]]),
                "questions_most": int(counts["max"][own["benchmark"]]),
                "file": str(result_path(folder, DENSE)),
            }
            for own, result in zip(entry["benchmarks"], dense, strict=True)
        ],
        "studies": [_study(study) for study in entry["studies"]],
        "fits": read_json(entry["fits"]) if entry["fits"] else [],
        "fits_file": entry["fits"],
    }


def _benchmark(entry: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dense model's score on a benchmark, and how it was asked."""
    low, high = result["score"]["interval_95"]
    metric = Metric.from_record(entry["metric"]).of_result(result["score"])
    return {
        "benchmark": entry["benchmark"],
        "benchmark_label": entry["label"],
        **metric.as_record(),
        "questions": result["questions"]["asked"],
        "questions_available": result["questions"]["available"],
        "score": result["score"]["value"],
        "score_low": low,
        "score_high": high,
        "at_chance": None if metric.chance is None else _reaches(metric, low, high),
        "beside": [_score_beside(name, own) for name, own in result.get("beside", {}).items()],
        "differs": entry["differs"],
        **{key: result["settings"][key] for key in ("scorer", "batch_size", "max_new_tokens")},
    }


def _score_beside(name: str, score: Mapping[str, Any]) -> dict[str, Any]:
    """Return what else the dense model's answers are worth."""
    low, high = score["interval_95"]
    metric = Metric.from_config(score["metric"]).of_result(score)
    return {
        "name": name,
        **metric.as_record(),
        "score": score["value"],
        "score_low": low,
        "score_high": high,
        "at_chance": None if metric.chance is None else _reaches(metric, low, high),
    }


def _study(study: Mapping[str, Any]) -> dict[str, Any]:
    table = read_table(study["table"])
    metrics = {
        row["benchmark"]: Metric.from_record(row)
        for _, row in table.drop_duplicates("benchmark").iterrows()
    }
    aggregate = metrics.pop(AGGREGATE, None)
    own = ("study", "title", "source", "figure", "look_for", "depth", "width", "carried_over")
    made = {key: study[key] for key in own} | {
        "file": str(study["table"]),
        "baselines": _baselines(table),
    }
    if aggregate is not None:
        return made | {"scores": [_scores(study, table, AGGREGATE, aggregate, metrics)]}
    each = [_scores(study, table, name, its, {name: its}) for name, its in metrics.items()]
    return made | {"scores": each}


def _scores(
    study: Mapping[str, Any],
    table: pd.DataFrame,
    benchmark: str,
    metric: Metric,
    metrics: Mapping[str, Metric],
) -> dict[str, Any]:
    """Return what a study says by one score: the mean over benchmarks, or that of one of them.

    `metrics` are those of the benchmarks on which a configuration may score at chance.
    """
    whole = table[table["benchmark"] == benchmark]
    kept = ["series", "label", "parameter_reduction_percent", "score", "score_low", "score_high"]
    kept += ["score_difference", "score_difference_low", "score_difference_high"]
    decomposed = whole[~whole["method"].isin((DENSE, DROP))]
    averaged = {name: metrics[name] for name in in_the_mean(metrics)}
    adjusted = _adjusted_p_values(study, averaged, list(decomposed["decomposition"]))
    decomposed = decomposed.assign(
        adjusted_p=adjusted,
        at_chance=[_at_chance(table, row, metrics) for _, row in decomposed.iterrows()],
    )
    gain, _, highest_gain = _gains(decomposed, "score_difference", metric.sign)
    worse = gain < 0
    by_loss = decomposed.loc[gain[worse].sort_values(kind="stable").index]
    of_rows = [*kept, "adjusted_p", "at_chance"]
    return {
        "benchmark": None if benchmark == AGGREGATE else whole["benchmark_label"].iloc[0],
        **metric.as_record(),
        "benchmarks": len(averaged),
        "with_chance": sum(metric.chance is not None for metric in metrics.values()),
        "questions": int(whole["questions"].iloc[0]),
        "questions_paired_least": int(whole["questions_paired"].min()),
        "questions_paired_most": int(whole["questions_paired"].iloc[1:].max()),
        "dense": _plain(whole[whole["decomposition"] == DENSE][kept])[0],
        "rows": _plain(decomposed[of_rows]),
        "worst": _plain(by_loss[of_rows].head(3)),
        "configurations": len(decomposed),
        "worse_each": int((highest_gain < 0).sum()),
        "worse_adjusted": int((worse & (decomposed["adjusted_p"] <= 1 - CONFIDENCE)).sum()),
        "control": _control(whole, metric),
    }


def _baselines(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what the baselines of a study's benchmarks score, in the unit of their metrics."""
    if "baseline" not in table:
        return []
    dense = table[(table["label"] == DENSE) & (table["benchmark"] != AGGREGATE)]
    columns = {f"baseline{end}": f"score{end}" for end in ("", "_low", "_high")}
    kept = ["benchmark_label", "baseline_label", "unit", "scale", *columns]
    return _plain(dense[dense["baseline"].notna()][kept].rename(columns=columns))


def _gains(rows: pd.DataFrame, column: str, sign: int) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Return differences, above 0 where better, and their intervals' lower and upper ends."""
    value, low, high = (sign * rows[f"{column}{end}"] for end in ("", "_low", "_high"))
    return (value, low, high) if sign > 0 else (value, high, low)


def _adjusted_p_values(
    study: Mapping[str, Any], metrics: Mapping[str, Metric], names: Sequence[str]
) -> np.ndarray:
    """Return Holm's p-values that each configuration scores as the dense model does."""
    folder = Path(study["table"]).parents[1] / "evaluations"
    every = [DENSE, *names]
    scores = [resample(folder, every, benchmark, metric) for benchmark, metric in metrics.items()]
    _, differences_RS = mean_contrasts(
        [own for own in scores if own is not None], differences_from_first(len(every))[:, 1:]
    )
    return holm(bootstrap_p_values(differences_RS))


def _reaches(metric: Metric, low: float, high: float) -> bool:
    """Return whether a score's interval reaches down to what a guess scores, or is worse."""
    return low <= metric.chance if metric.sign > 0 else high >= metric.chance


def _at_chance(table: pd.DataFrame, row: pd.Series, metrics: Mapping[str, Metric]) -> int:
    """Count the benchmarks on which a configuration may as well be guessing."""
    own = table[
        (table["decomposition"] == row["decomposition"]) & (table["series"] == row["series"])
    ]
    own = own[own["label"] == row["label"]].set_index("benchmark")
    return sum(
        metric.chance is not None
        and bool(_reaches(metric, *own.loc[benchmark, ["score_low", "score_high"]]))
        for benchmark, metric in metrics.items()
    )


def _control(whole: pd.DataFrame, metric: Metric) -> dict[str, Any] | None:
    """Count where leaving layers out is better or worse than decomposing them, at 95% each."""
    rows = whole[whole["method"] == DROP]
    if rows.empty:
        return None
    made: dict[str, Any] = {"configurations": len(rows)}
    for compared, sign in (("score", metric.sign), ("log_probability", 1)):
        name = f"{compared}_over_decomposed"
        if name in rows:
            _, low, high = _gains(rows, name, sign)
            better, worse = int((low > 0).sum()), int((high < 0).sum())
            made[compared] = {
                "better": better,
                "worse": worse,
                "undecided": len(rows) - better - worse,
            }
    return made


def _records(path: str | Path) -> dict[str, Any]:
    return {"file": str(path), "rows": _plain(read_table(path))}


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as plain values; what is missing is None."""
    return [
        {key: None if pd.isna(value) else value for key, value in row.items()}
        for row in table.to_dict("records")
    ]
