"""Whether two steps together cost more than each alone: compression, and fewer bits on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lowrank.analyse.answers import resample
from lowrank.base.evaluations import benchmark_result
from lowrank.base.metric import Metric
from lowrank.base.names import DENSE
from lowrank.base.statistics import bootstrap_p_values, holm, percentile_interval

WORSE: Mapping[str, Mapping[str, int]] = {
    "loss_of_compression": {"compression": 1, DENSE: -1},
    "loss_of_quantization": {"alone": 1, DENSE: -1},
    "loss_of_both": {"both": 1, DENSE: -1},
    "interaction": {"both": 1, "compression": -1, "alone": -1, DENSE: 1},
}
"""From a column to its contrast of the four models, of numbers that grow as a model gets worse."""


MODELS = ("both", "compression", "alone")
"""Keys of a row: both together, compression alone, and quantization alone, of the dense model."""


def interactions(
    rows: Sequence[Mapping[str, Any]],
    benchmarks: Mapping[str, Mapping[str, Any]],
    folder: str | Path,
) -> pd.DataFrame:
    """Return what compression, quantization and both cost, and what both cost beyond the sum.

    A loss is measured from the dense model, and is above 0 where a model is worse. Of perplexities
    it is a difference of natural logarithms: nats a token. Of shares it is in points. The
    interaction is the loss of both less that of compression alone and that of quantization alone:
    0 if one adds to the other. All are paired, each over the questions that its models were all
    asked.

    Parameters
    ----------
    rows
        Of each quantized compressed model its `series` and `label`, the name of its `quantization`,
        and the names of the decompositions: `both`, `compression` and `alone`, the dense model so
        quantized.
    benchmarks
        From a benchmark to its `label` and its `metric`, as
        `lowrank.analyse.accuracy.collect_accuracy` takes them.
    folder
        Where the evaluations are, see `lowrank.base.evaluations`.

    Returns
    -------
    A row a benchmark and model: what it is, the `unit`, the number of `questions` that all four
    were asked, each key of `WORSE` with its 95% interval (`_low`, `_high`), and `p_value` of "the
    interaction is 0", adjusted for all rows (Holm).

    Raises
    ------
    LowrankError
        If a result is missing, or of two models neither answered all the questions of the other.
    """
    models = [{DENSE: DENSE} | {key: row[key] for key in MODELS} for row in rows]
    names = list(dict.fromkeys(name for own in models for name in own.values()))
    place = {name: index for index, name in enumerate(names)}
    made: list[dict[str, Any]] = []
    p_values: list[float] = []
    for benchmark, entry in benchmarks.items():
        metric = Metric.from_record(entry["metric"])
        metric = metric.of_result(benchmark_result(folder, DENSE, benchmark)["score"])
        scores = resample(folder, names, benchmark, metric)
        assert scores is not None  # only a companion may be
        is_perplexity = metric.averaging == "perplexity"
        scale = -metric.sign * (1.0 if is_perplexity else metric.scale)
        own: list[dict[str, Any]] = [
            {key: row[key] for key in ("series", "label", "quantization", *MODELS)}
            | {"benchmark": benchmark, "benchmark_label": entry["label"]}
            | {"unit": unit_of_loss(metric)}
            | {"questions": scores.common_questions([place[name] for name in four.values()])}
            for row, four in zip(rows, models, strict=True)
        ]
        for column, weight_of in WORSE.items():
            weights_CS = np.zeros((len(names), len(rows)))
            for index, four in enumerate(models):
                for key, weight in weight_of.items():
                    weights_CS[place[four[key]], index] += scale * weight
            value_S, replicates_RS = (
                scores.contrasts(weights_CS, np.log)
                if is_perplexity
                else scores.contrasts(weights_CS)
            )
            low_S, high_S = percentile_interval(replicates_RS)
            for made_row, *ends in zip(own, value_S, low_S, high_S, strict=True):
                keys = (column, f"{column}_low", f"{column}_high")
                made_row.update(zip(keys, map(float, ends), strict=True))
        p_values += list(bootstrap_p_values(replicates_RS))  # of the last, the interaction
        made += own
    return pd.DataFrame(made).assign(p_value=holm(p_values))


def unit_of_loss(metric: Metric) -> str:
    """Return what losses on a benchmark are in: that of a perplexity's logarithm, or of a score."""
    if metric.averaging == "perplexity":
        return f"nats a {metric.name.partition('_')[0]}"
    return "points" if metric.is_share else metric.unit or metric.label
