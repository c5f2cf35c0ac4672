"""Score an encoder on a benchmark that lm-eval does not have."""

from __future__ import annotations

import functools
import importlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from transformers import PreTrainedModel

from lowrank.assets.choice import SUBSET, asked_first, asking_order, read_questions
from lowrank.base.errors import LowrankError, suggestion
from lowrank.base.files import sha256_file
from lowrank.base.metric import Metric
from lowrank.base.names import PLACE
from lowrank.base.provenance import versions
from lowrank.evaluate import job
from lowrank.evaluate.configuration import Configuration
from lowrank.evaluate.evaluation import Asked, evaluate_with
from lowrank.evaluate.finite import NotFiniteError
from lowrank.evaluate.keys import digest
from lowrank.evaluate.result import Answers, make_score
from lowrank.evaluate.store import answering_code
from lowrank.project.scorers import SCORERS
from lowrank.space.architecture import Architecture
from lowrank.space.methods import METHODS

METRICS_CODE = ("evaluate/metrics", "evaluate/held_out.py")
"""Below the library: the code that answers for encoders."""


class MetricModule(Protocol):
    """What a module of `lowrank.evaluate.metrics` has.

    Attributes
    ----------
    METRICS
        The names of its metrics, all reported. The benchmark's entry names the headline; the
        others are known to `lowrank.base.metric.METRICS`.
    """

    METRICS: tuple[str, ...]

    def require(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Check, before anything is asked, that questions have what their scores are made of."""

    def answer_questions(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        rows: Sequence[Mapping[str, Any]],
        options: Mapping[str, int],
        batch_size: int,
    ) -> list[dict[str, Any]]:
        """Return what the model answers to each question, as plain values.

        A `NotFiniteError` says at the first batch which row, by its place, has no answer.
        """

    def question_scores(
        self, answers: Sequence[Mapping[str, Any]], metric: str
    ) -> list[dict[str, Any]]:
        """Return what each answer is worth: `value`, and the column that the metric averages by.

        Where some questions share something, `cluster` names what.

        See `scores` of `lowrank.evaluate.result.Answers`.
        """


def prepare(base: str, compressed: str, benchmarks: Any, settings: Any, *_: Any) -> None:
    """Load what every job of a model needs (see `lowrank.running.warm_start`)."""
    for benchmark in benchmarks:
        _metrics(benchmark["entry"])
    job.prepare(base, compressed, benchmarks, settings)


def _metrics(benchmark: Mapping[str, Any]) -> MetricModule:
    return importlib.import_module(SCORERS[benchmark["scorer"]].metrics)


class EncoderAnswerer:
    """Answers benchmarks for one configuration of an encoder.

    Parameters
    ----------
    configuration
        Who answers.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration

    def answer(self, asked: Asked) -> tuple[Answers, dict[str, Any]]:
        """Answer one benchmark's questions, and score the answers.

        Parameters
        ----------
        asked
            What is asked. Its entry has `name`, `scorer`, `metric`, `beside` and `options`.

        Returns
        -------
        The answers, and what else the result says: the score of each of the scorer's metrics.

        Raises
        ------
        LowrankError
            If the model or the questions cannot be read, the benchmark is not for such a model, its
            scorer lacks its metric, or an answer is not finite.
        """
        benchmark, settings = asked.benchmark, asked.settings
        metrics = _metrics(benchmark)
        headline = Metric.from_config(benchmark["metric"])
        others = {
            name: Metric.from_config(entry["metric"])
            for name, entry in benchmark.get("beside", {}).items()
        }
        for metric in (headline, *others.values()):
            if str(metric) not in metrics.METRICS:
                raise LowrankError(
                    f"{benchmark['scorer']} has no metric {str(metric)!r}"
                    f"{suggestion(str(metric), metrics.METRICS)}"
                )
        table = read_questions(asked.questions)
        order = asking_order(table[SUBSET].to_pylist(), settings["seed"], settings["sampling"])
        found = self._answers(metrics, table, order, benchmark, settings)
        samples = [{"task": benchmark["name"], "doc_id": row} | found[row] for row in sorted(found)]
        places = {int(row): place for place, row in enumerate(order)}
        scores = {name: _scores(metrics, samples, name) for name in metrics.METRICS}
        beside = {name: (other, scores[other.name]) for name, other in others.items()}
        answers = Answers(
            samples,
            [own | {PLACE: places[own["question"]]} for own in scores[headline.name]],
            len(table),
            sha256_file(asked.questions),
            self._configuration.settings["dtype"],
            beside,
        )
        results = {
            name: make_score(
                scores[name], headline if name == headline.name else Metric.from_config(name)
            )
            for name in metrics.METRICS
        }
        return answers, {
            "options": benchmark["options"],
            "results": results,
            "scorer_versions": versions(["scikit-learn"]),
        }

    def _answers(
        self,
        metrics: MetricModule,
        table: pa.Table,
        order: np.ndarray,
        benchmark: Mapping[str, Any],
        settings: Mapping[str, Any],
    ) -> dict[int, dict[str, Any]]:
        """Return the answers to the first questions of an order, by row.

        Questions are asked in whole blocks of the order: see `lowrank.evaluate.asking`.
        """
        store, size = self._configuration.store, settings["block"]
        code = answering_code(*METRICS_CODE)
        rows = table.take(asked_first(order, settings["limit"], size)).to_pylist()
        keys = [digest([code, benchmark["options"], size, row]) for row in rows]
        if not all(key in store for key in keys):
            self._require_fit(benchmark)  # which loads the model: that is no time of asking
            try:
                metrics.require(rows)
            except LowrankError as error:
                raise LowrankError(f"{benchmark['name']}: {error}") from None
        begin, asked = time.monotonic(), 0
        try:
            for start in range(0, len(rows), size):
                block = range(start, min(start + size, len(rows)))
                if all(keys[place] in store for place in block):
                    continue
                questions = [rows[place] for place in block]
                try:
                    answers = metrics.answer_questions(
                        self._configuration.model,
                        self._configuration.tokenizer,
                        questions,
                        benchmark["options"],
                        size,
                    )
                except NotFiniteError as error:
                    raise error.told_of(
                        self._configuration.manifest,
                        task=benchmark["name"],
                        question=int(order[start + error.asked]),
                    ) from None
                asked += len(block)
                lines = [json.dumps(answer) for answer in answers]
                store.add(dict(zip((keys[place] for place in block), lines, strict=True)))
        finally:
            seconds = time.monotonic() - begin
            store.keep(benchmark=benchmark["name"], questions=asked, seconds=seconds)
        wanted = asked_first(order, settings["limit"])
        return {int(row): json.loads(store[key]) for row, key in zip(wanted, keys, strict=False)}

    def _require_fit(self, benchmark: Mapping[str, Any]) -> None:
        """Check that the model is what the benchmark is for, and as large as it says."""
        model, manifest = self._configuration.model, self._configuration.manifest
        scorer = SCORERS[benchmark["scorer"]]
        architecture = Architecture.from_config(model.config.to_dict())
        task, most = architecture.task, architecture.positions
        if task != scorer.task:
            raise LowrankError(
                f"{benchmark['name']} is for {scorer.task} models; {manifest['model']} is {task}"
            )
        _require_declared_size(model, manifest)
        asked = benchmark["options"].get("max_length", 0)
        if most is not None and asked > most:
            raise LowrankError(
                f"{benchmark['name']}: its inputs may have {asked} tokens, but {manifest['model']} "
                f"reads {most} at once; set `max_length: {most}` in the `options` of the "
                "benchmark's file, or leave one of them out"
            )


def _scores(
    metrics: MetricModule, samples: Sequence[Mapping[str, Any]], metric: str
) -> list[dict[str, Any]]:
    """Return a metric of each sample, with its task and its question."""
    return [
        {"task": sample["task"], "question": sample["doc_id"]} | score
        for sample, score in zip(samples, metrics.question_scores(samples, metric), strict=True)
    ]


def _require_declared_size(model: PreTrainedModel, manifest: Mapping[str, Any]) -> None:
    """Check that the model is as large as its architecture says, on which reductions rest."""
    found = sum(parameter.numel() for parameter in model.parameters())
    declared = manifest["parameters"]["compressed"]
    if METHODS.get(manifest["decomposition"]["method"], METHODS["svd"]).has_core:
        # The loader multiplies each core into a factor.
        declared -= sum(module["rank"] ** 2 for module in manifest["modules"].values())
    if found != declared:
        raise LowrankError(
            f"{manifest['model']} has {found:,} parameters, declared are {declared:,}; an encoder "
            "without a pooler is declared by `add_pooling_layer: false`"
        )


evaluate = functools.partial(evaluate_with, EncoderAnswerer)
"""What the job of an encoder calls; see `lowrank.evaluate.evaluation.evaluate_with`."""
