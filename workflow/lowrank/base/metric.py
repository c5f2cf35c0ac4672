"""What a score is: its name, its unit, which way is better, and how questions average to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lowrank.base.errors import LowrankError, suggestion

AVERAGINGS = ("mean", "average_precision", "weighted_mean", "perplexity")
"""How questions average to a score; `lowrank.base.statistics.AVERAGES` computes each.

`mean`
    The plain mean of the questions' values.
`average_precision`
    The average precision of ranking the questions by their values; the column `label` of the
    questions is 1 where one is right.
`weighted_mean`
    Σ weight · value / Σ weight, with the column `weight` of the questions. The value of a text
    scored in bits per byte is its own bits per byte, the weight its number of bytes.
`perplexity`
    exp of the weighted mean. The value of a text is its own negative log-likelihood (natural
    logarithm) per token, word or byte, the weight its number of them.
"""

HIGHER, LOWER = "higher", "lower"

PERCENT = "%"


@dataclass(frozen=True)
class Metric:
    """A metric, as a value.

    Attributes
    ----------
    name
        What the results call it: lm-eval's name.
    label
        What an axis calls it.
    unit
        What a person reads its scores in; empty where there is none.
    scale
        From the number that results hold to that unit: 100 for shares.
    direction
        Which scores are better: `higher` or `lower`.
    averaging
        One of `AVERAGINGS`.
    filter
        Which of lm-eval's filters of the answers it is taken after; empty for the one there is.
    chance
        Score of a guess, in the number that results hold; None where a guess has none, or where
        the questions say it (`of_result`).
    in_mean
        Whether it takes part in the mean over benchmarks.
    """

    name: str
    label: str
    unit: str = ""
    scale: float = 1.0
    direction: str = HIGHER
    averaging: str = "mean"
    filter: str = ""
    chance: float | None = None
    in_mean: bool = True

    def __str__(self) -> str:
        """Return `name` or `name,filter`, as results and lm-eval call it."""
        return f"{self.name},{self.filter}" if self.filter else self.name

    @classmethod
    def from_config(cls, value: str | Mapping[str, Any], chance: float | None = None) -> Metric:
        """Return the metric that a benchmark's entry names.

        Parameters
        ----------
        value
            `name` or `name,filter` of one of `METRICS`; or a mapping with that as its `name` and
            attributes that replace the known ones. A metric that `METRICS` lacks needs `label`
            and `direction`.
        chance
            Score of a guess.

        Raises
        ------
        LowrankError
            If the metric is not known, it has another scale in the same unit, or the score of a
            guess is none that it can have.
        """
        given = {"name": value} if isinstance(value, str) else dict(value)
        name, _, filter_name = given.pop("name").partition(",")
        if "unit" in given:
            given.setdefault("scale", 100.0 if given["unit"] == PERCENT else 1.0)
        missing = [f"`{key}`" for key in ("label", "direction") if key not in given]
        if name in METRICS:
            made = replace(METRICS[name], **given)
            if made.unit and "scale" in given and "unit" not in given:
                raise LowrankError(
                    f"metric: scale: {name} is in {made.unit}: another scale needs another `unit`"
                )
        elif isinstance(value, str):
            raise LowrankError(f"metric: unknown metric {name!r}{suggestion(name, METRICS)}")
        elif missing:
            raise LowrankError(
                f"metric: {name!r} is not known here, so it needs {' and '.join(missing)}"
            )
        else:
            made = cls(name, **given)
        if chance is not None and made.is_share and not 0 <= chance <= 1:
            raise LowrankError(f"chance: {chance} is no share; {name} scores between 0 and 1")
        return replace(made, filter=filter_name, chance=chance)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Metric:
        """Return the metric that `as_record` described, also from a row of a table.

        Raises
        ------
        LowrankError
            If the record lacks a key.
        """
        try:
            name, _, filter_name = record["metric"].partition(",")
            return cls(
                name,
                record["metric_label"],
                _known(record["unit"]) or "",
                float(record["scale"]),
                record["direction"],
                record["averaging"],
                filter_name,
                _known(record["chance"]),
                bool(record["in_mean"]),
            )
        except KeyError as error:
            raise LowrankError(f"a metric is described without {error}; run again") from None

    def of_result(self, score: Mapping[str, Any]) -> Metric:
        """Return the metric with the chance level that a result's score has from its questions."""
        chance = score.get("chance")
        return self if chance is None else replace(self, chance=float(chance))

    def as_record(self) -> dict[str, Any]:
        """Return plain values: JSON, or columns of a table."""
        return {
            "metric": str(self),
            "metric_label": self.label,
            "unit": self.unit,
            "scale": self.scale,
            "direction": self.direction,
            "averaging": self.averaging,
            "chance": self.chance,
            "in_mean": self.in_mean,
        }

    @property
    def axis(self) -> str:
        """What an axis says: label, unit, and whether lower is better."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.label}{unit}" + ("" if self.sign > 0 else ", lower is better")

    @property
    def sign(self) -> int:
        """1 where higher scores are better, −1 where lower ones are."""
        return 1 if self.direction == HIGHER else -1

    @property
    def is_share(self) -> bool:
        """Whether scores lie between 0 and 1 and are read in percent."""
        return self.unit == PERCENT and self.scale == 100.0

    def is_like(self, other: Metric) -> bool:
        """Return whether scores of both are of one quantity, whatever a filter does to answers."""
        return (self.name, self.kind) == (other.name, other.kind)

    @property
    def kind(self) -> tuple[str, float, str]:
        """What two metrics share if their scores may be averaged and drawn on one axis."""
        return self.unit or self.label, self.scale, self.direction


def in_the_mean(metrics: Mapping[str, Metric]) -> list[str]:
    """Return the benchmarks that the mean is over: those whose metric takes part.

    A benchmark alone is its own mean. Of several of which none takes part, such as perplexities on
    different texts, there is no mean: it is over nothing.
    """
    if len(metrics) == 1:
        return list(metrics)
    return [name for name, metric in metrics.items() if metric.in_mean]


def metric_of_mean(metrics: Mapping[str, Metric]) -> Metric:
    """Return the metric that the plain mean over benchmarks is in.

    Its chance level is the mean of theirs, and None if one has none.

    Parameters
    ----------
    metrics
        From each benchmark that the mean is over, at least one, to its metric.

    Raises
    ------
    LowrankError
        If two of them have scores of other kinds, of which there is no mean.
    """
    (first_name, first), *others = metrics.items()
    for name, metric in others:
        if metric.kind != first.kind:
            raise LowrankError(
                f"{first_name} ({first.axis}) and {name} ({metric.axis}) have no mean; ask them in "
                "different studies, or set `in_mean: false` in the metric of one"
            )
    chances = [metric.chance for metric in metrics.values()]
    labels = {metric.label for metric in metrics.values()}
    averagings = {metric.averaging for metric in metrics.values()}
    return replace(
        first,
        name="plain mean over benchmarks",
        filter="",
        label=first.label if len(labels) == 1 else "Score",
        averaging=first.averaging if len(averagings) == 1 else "mean",
        chance=None if None in chances else sum(chances) / len(chances),
    )


def programs_of(metric: str) -> int:
    """Return the number of programs of which one is to pass: k, of `pass@k`.

    Raises
    ------
    LowrankError
        If the metric is not named so.
    """
    found = re.fullmatch(r"pass@([1-9][0-9]*)", metric)
    if not found:
        raise LowrankError(f"programs have no metric {metric!r}; they have pass@1, pass@10, …")
    return int(found[1])


def _known(value: Any) -> Any:
    """Return a value of a table, or None for what a table leaves empty."""
    return None if value is None or value == "" or value != value else value


def _share(name: str, label: str, averaging: str = "mean") -> Metric:
    return Metric(name, label, PERCENT, 100.0, HIGHER, averaging)


def _of_text(name: str, label: str, averaging: str, unit: str = "") -> Metric:
    return Metric(name, label, unit, 1.0, LOWER, averaging, in_mean=False)


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        _share("acc", "Accuracy"),
        _share("acc_norm", "Accuracy"),
        _share("exact_match", "Accuracy"),
        _share("em", "Exact match"),
        _share("f1", "F1"),
        *(_share(f"pass@{k}", f"Pass@{k}") for k in (1, 10, 100)),
        _share("pass_at_1", "Pass@1"),
        _share("average_precision", "Average precision", "average_precision"),
        _of_text("token_perplexity", "Token perplexity", "perplexity"),
        _of_text("word_perplexity", "Word perplexity", "perplexity"),
        _of_text("byte_perplexity", "Byte perplexity", "perplexity"),
        _of_text("bits_per_byte", "Cross-entropy", "weighted_mean", "bits/byte"),
    )
}
"""The metrics that need no description in a benchmark's entry, by lm-eval's name."""

WINDOW_METRICS: Mapping[str, str] = {
    "token_perplexity": "predictions",
    "byte_perplexity": "bytes",
    "bits_per_byte": "bytes",
}
"""From each metric that windows of a text have to what a window has as its weight."""
