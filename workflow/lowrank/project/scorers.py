"""The scorers of benchmarks: one entry of `SCORERS` is all that the workflow knows of a scorer.

To add a benchmark that lm-eval does not have, write its metrics as a module of
`lowrank.evaluate.metrics` and add an entry here; the benchmark's file in `config/benchmarks` names
the scorer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lowrank.base.names import CONTINUATIONS, LM_EVAL, PERPLEXITY, PROGRAMS


@dataclass(frozen=True)
class Scorer:
    """Who scores a benchmark.

    Attributes
    ----------
    task
        The task of the models that it scores, as `lowrank.space.architecture` names it.
    keys
        The keys of the benchmark's entry that shape a score.
    metrics
        The module of its metrics, which has what `lowrank.evaluate.encoder.MetricModule` lists, or
        for causal models `lowrank.evaluate.causal.ScoringModule`; None for lm-eval's own and for
        perplexity. A name, not the module, so that reading the registry imports no torch.
    """

    task: str
    keys: tuple[str, ...]
    metrics: str | None = None


_OWN_KEYS = ("name", "scorer", "metric", "beside", "options")

SCORERS: Mapping[str, Scorer] = {
    LM_EVAL: Scorer(
        "causal",
        (
            "name",
            "tasks",
            "task_folder",
            "exemplars",
            "metric",
            "weights",
            "beside",
            "clusters",
            "generation",
            "max_length",
        ),
    ),
    PERPLEXITY: Scorer("causal", ("name", "scorer", "text", "length", "metric", "beside")),
    CONTINUATIONS: Scorer(
        "causal", ("name", "scorer", "context", "continuation", "metric", "beside")
    ),
    PROGRAMS: Scorer(
        "causal",
        ("name", "scorer", "protocol", "metric", "beside"),
        "lowrank.evaluate.programs",
    ),
    "mrpc": Scorer("encoder", _OWN_KEYS, "lowrank.evaluate.metrics.mrpc"),
    "probe": Scorer("encoder", _OWN_KEYS, "lowrank.evaluate.metrics.probe"),
    "squad": Scorer("question_answering", _OWN_KEYS, "lowrank.evaluate.metrics.squad"),
}
"""From the `scorer` of a benchmark's entry to what scores it."""

BASELINES: Mapping[str, tuple[str, ...]] = {
    "bag_of_words": ("sentence", "label"),
    "word_overlap": ("sentence1", "sentence2", "label"),
}
"""From each baseline that a benchmark's entry may name to the columns that it reads.

`lowrank.evaluate.baselines` has them.
"""
