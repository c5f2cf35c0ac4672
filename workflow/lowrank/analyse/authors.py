"""The figures that the thesis's authors published, as the tables that studies here have.

They did not publish the answers. Nobody can say which questions two configurations answered alike,
so a difference gets the widest interval that there can be: the errors of both scores are added. The
scores of their dense model are other people's runs. Each cost was measured once.

Shape suffix: ``C`` configurations, the dense model first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from lowrank.analyse.accuracy import table_row, write_scores
from lowrank.analyse.efficiency import METRICS, write_profiles
from lowrank.base.authors import TRUTHFULQA, Published, read_published
from lowrank.base.metric import Metric, metric_of_mean
from lowrank.base.names import AGGREGATE, DENSE, LARGEST_BATCH
from lowrank.base.statistics import wilson_interval
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition

Z = float(scipy.stats.norm.ppf(0.975))
"""Standard errors on each side of a 95% interval."""

DOUBT = "one run each"


def authors_tables(
    folder: str | Path,
    architecture: Mapping[str, Any],
    labels: Mapping[str, str],
    benchmarks: Mapping[str, str],
    thesis_slopes: Mapping[str, float],
    scores: str | Path,
    table: str | Path,
    fits: str | Path,
) -> None:
    """Write the authors' scores and costs as the tables of a study.

    Scores go to a table like that of `lowrank.analyse.accuracy.collect_accuracy`: a row each
    configuration and benchmark, with blank scores where there is no figure. Its columns
    `score_least` and `score_greatest` span the records of the dense model where there are several.
    The aggregate is the mean over the benchmarks on which every configuration and the dense model
    have a score. Costs go to tables like those of `lowrank.analyse.efficiency.collect_profiles`.

    Parameters
    ----------
    folder
        The folder that `lowrank.base.authors.read_published` reads.
    architecture
        The configuration of their model's architecture.
    labels
        From the name of a configuration to its label in the study. One that the study lacks is
        labelled by the percent of the parameters that it removes.
    benchmarks
        From a benchmark to the name that figures print.
    thesis_slopes
        From a cost to the percent that it falls by for each percent of parameters, as the thesis
        prints it.
    scores, table, fits
        The files to write: CSV, CSV and JSON.

    Raises
    ------
    LowrankError
        If the folder cannot be read or names no configuration of the model.
    """
    published = read_published(folder)
    configurations = _configurations(published, Architecture.from_config(architecture), labels)
    write_scores(_score_rows(published, configurations, benchmarks), scores)
    write_profiles(_cost_rows(published, benchmarks), thesis_slopes, table, fits)


def _configurations(
    published: Published, architecture: Architecture, labels: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return the configurations as rows of a study, the dense model first."""
    made = []
    for name, reduction in published.reduction.items():
        decomposition = Decomposition.from_name(architecture, name)
        made.append(
            {
                "series": "",
                "label": DENSE if name == DENSE else labels.get(name, f"{reduction:.0f}%"),
                "position": None,
                "method": decomposition.method,
                "rank": 0 if name == DENSE else decomposition.rank.label,
                "decomposition": name,
            }
        )
    return made


def _score_rows(
    published: Published, configurations: list[dict[str, Any]], benchmarks: Mapping[str, str]
) -> list[dict[str, Any]]:
    accuracy = published.accuracy
    names = [row["decomposition"] for row in configurations]
    theirs = accuracy[accuracy["configuration"] != DENSE].drop_duplicates("benchmark")
    quantity_of = theirs.set_index("benchmark")["quantity"]
    questions_of = theirs.set_index("benchmark")["questions"].astype(int).to_dict()
    first = accuracy.drop_duplicates(["configuration", "benchmark"])
    values = first.pivot(index="configuration", columns="benchmark", values="value").reindex(names)
    averaged = [name for name in quantity_of.index if values[name].notna().all()]
    metrics = {}
    for benchmark, quantity in quantity_of.items():
        chance = published.sources["chance"].get(benchmark)
        metric = Metric.from_config(quantity, chance)
        metrics[benchmark] = replace(metric, in_mean=benchmark in averaged)
    scores = {name: values[name].to_numpy(dtype=float) for name in metrics}
    errors = {
        name: np.sqrt(score_C * (1 - score_C) / questions_of[name])
        for name, score_C in scores.items()
    }
    made = []
    for benchmark, metric in metrics.items():
        score_C, questions = scores[benchmark], questions_of[benchmark]
        ends = [_interval(benchmark, score, questions) for score in score_C]
        reach_C = Z * (errors[benchmark] + errors[benchmark][0])
        what = (benchmark, benchmarks[benchmark], metric, questions)
        made += _rows(published, configurations, what, score_C, np.array(ends), reach_C)
        made[-len(names)] |= _span(accuracy, benchmark)
    # The benchmarks have questions of their own: of a mean over them, variances add up.
    number = len(averaged)
    score_C = np.mean([scores[name] for name in averaged], axis=0)
    errors_BC = np.stack([errors[name] for name in averaged])
    own_C = Z * np.sqrt((errors_BC**2).sum(axis=0)) / number
    reach_C = Z * np.sqrt(((errors_BC + errors_BC[:, :1]) ** 2).sum(axis=0)) / number
    missing = " and ".join(benchmarks[name] for name in metrics if name not in averaged)
    label = f"mean of {number} benchmarks" + (f", without {missing}" if missing else "")
    metric = metric_of_mean({name: metrics[name] for name in averaged})
    what = (AGGREGATE, label, metric, sum(questions_of[name] for name in averaged))
    ends_C2 = np.stack([score_C - own_C, score_C + own_C], axis=1)
    return made + _rows(published, configurations, what, score_C, ends_C2, reach_C)


def _rows(
    published: Published,
    configurations: list[dict[str, Any]],
    what: tuple[str, str, Metric, int],
    score_C: np.ndarray,
    ends_C2: np.ndarray,
    reach_C: np.ndarray,
) -> list[dict[str, Any]]:
    """Return the rows of one benchmark, or of the mean over them.

    `what` are its name, its label, its metric and its questions. `reach_C` is how far the interval
    of the difference from the dense model goes to each side; of that model from itself, nowhere.
    """
    *names, questions = what
    difference_C = score_C - score_C[0]
    reach_C = np.where(np.arange(len(score_C)) == 0, 0.0, reach_C)
    made = []
    for index, row in enumerate(configurations):
        reduction = published.reduction[row["decomposition"]]
        made.append(
            {
                "model": published.sources["authors"]["model"],
                **table_row(row, reduction, *names, questions, questions),
                "score": score_C[index],
                "score_low": ends_C2[index, 0],
                "score_high": ends_C2[index, 1],
                "score_difference": difference_C[index],
                "score_difference_low": difference_C[index] - reach_C[index],
                "score_difference_high": difference_C[index] + reach_C[index],
                "score_least": None,
                "score_greatest": None,
            }
        )
    return made


def _interval(benchmark: str, score: float, questions: int) -> tuple[float, float]:
    """Return the 95% interval of one score.

    Right-or-wrong answers have Wilson's interval. TruthfulQA's are graded: scores between 0 and 1
    vary at most as answers of right or wrong do.
    """
    if np.isnan(score):
        return np.nan, np.nan
    if benchmark != TRUTHFULQA:
        return wilson_interval(round(score * questions) / questions, questions)
    reach = Z * np.sqrt(score * (1 - score) / questions)
    return score - reach, score + reach


def _span(accuracy: pd.DataFrame, benchmark: str) -> dict[str, float]:
    """Return the least and the greatest record of the dense model; nothing of a single one."""
    is_dense = (accuracy["configuration"] == DENSE) & (accuracy["benchmark"] == benchmark)
    values = accuracy.loc[is_dense, "value"]
    if len(values) < 2:
        return {}
    return {"score_least": float(values.min()), "score_greatest": float(values.max())}


def _cost_rows(published: Published, benchmarks: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return one row each configuration, benchmark and cost, as profiles have them."""
    authors = published.sources["authors"]
    costs = published.efficiency.set_index(["configuration", "benchmark", "quantity"])
    made = []
    for (name, benchmark, quantity), row in costs.iterrows():
        if quantity not in METRICS:
            continue
        unit, factor = ("B", 2**20) if row["unit"] == "MiB" else (row["unit"], 1)
        dense = costs.loc[(DENSE, benchmark, quantity), "value"]
        metered = quantity in ("energy", "power")
        made.append(
            {
                "model": authors["model"],
                "decomposition": name,
                "parameter_reduction_percent": published.reduction[name],
                "device": f"{authors['gpus']} × {authors['device']}",
                "gpus": authors["gpus"],
                "workload": benchmarks[benchmark],
                "phase": "prefill",
                "batch": row["batch"],
                "batch_rule": LARGEST_BATCH,  # by the word of the thesis
                "doubts": DOUBT,
                "metric": quantity,
                "unit": unit,
                "value": factor * row["value"],
                "dense": factor * dense,
                **dict.fromkeys(("ratio", "ratio_low", "ratio_high"), row["value"] / dense),
                "rounds": 1,
                "source": "nvml-power" if metered else None,
                "disagreement_percent": None,
            }
        )
    return made
