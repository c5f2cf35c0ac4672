"""Score a causal model: on lm-eval's own tasks and metrics, by likelihoods, or by programs."""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from lm_eval.api.task import Task
from lm_eval.models.huggingface import HFLM

from lowrank.assets.choice import read_questions
from lowrank.base.names import CONTINUATIONS, PERPLEXITY, PLACE
from lowrank.evaluate.asking import ask
from lowrank.evaluate.configuration import Configuration
from lowrank.evaluate.evaluation import Asked, evaluate_with
from lowrank.evaluate.finite import NotFiniteError
from lowrank.evaluate.job import prepare as prepare  # what the warm server calls
from lowrank.evaluate.packed.lm import PackedLM
from lowrank.evaluate.perplexity import score_windows
from lowrank.evaluate.requests import (
    ROLLING,
    asked_facts,
    first_questions,
    original_positions,
    places_of_questions,
    read_requests,
)
from lowrank.evaluate.result import Answers
from lowrank.evaluate.scores import quantities, question_scores, require_agreement
from lowrank.evaluate.stock import StockLM
from lowrank.evaluate.store import AnswerStore
from lowrank.evaluate.stored import StoredLM
from lowrank.evaluate.tasks import load_tasks, run_tasks
from lowrank.project.scorers import SCORERS


class ScoringModule(Protocol):
    """What a module of metrics has for answers that lm-eval does not score."""

    def require(self, asked: Asked) -> None:
        """Check, before anything is asked, that the answers can be scored here."""

    def score(
        self, asked: Asked, requests: Sequence[Mapping[str, Any]], store: AnswerStore, dtype: str
    ) -> tuple[Answers, dict[str, Any]]:
        """Return what answers are worth, and what else the result says of the benchmark."""


class CausalAnswerer:
    """Answers benchmarks for one configuration of a causal model.

    Parameters
    ----------
    configuration
        Who answers.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._language_models: dict[int | str, HFLM] = {}

    def language_model(self, batch_size: int | str) -> HFLM:
        """Return what asks the model: made when something must be asked, once a batch size.

        `packed` computes what choices and questions share once; `hf` is lm-eval's own `HFLM`, which
        packed scoring equals up to rounding. Both take log-probabilities in float32, and end at the
        first that is not finite.
        """
        asked = self._configuration
        if batch_size not in self._language_models:
            if asked.settings["scorer"] == "packed":
                made = PackedLM(asked.model, asked.tokenizer, batch_size=batch_size)
            else:
                made = StockLM(
                    pretrained=asked.model,
                    tokenizer=asked.tokenizer,
                    batch_size=batch_size,
                    softmax_dtype="float32",
                )
            self._language_models[batch_size] = made
        return self._language_models[batch_size]

    def answer(self, asked: Asked) -> tuple[Answers, dict[str, Any]]:
        """Answer one benchmark's questions, and score the answers.

        Parameters
        ----------
        asked
            What is asked. Its entry has the keys that `lowrank.project.scorers.SCORERS` lists.

        Returns
        -------
        The answers, and what else the result says: lm-eval's own results, or the windows' length.

        Raises
        ------
        LowrankError
            If the compressed model or the questions cannot be read, or an answer is not finite: at
            the first pass that has one, with the configuration, the task and the question.
        """
        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        benchmark, settings = asked.benchmark, asked.settings
        own, scorer = self._configuration, benchmark.get("scorer", "lm_eval")
        requests = read_requests(asked.requests)
        metrics: ScoringModule | None = None
        if module := SCORERS[scorer].metrics:
            metrics = importlib.import_module(module)
            metrics.require(asked)
        self._ask(requests, asked)
        if metrics is not None:
            return metrics.score(asked, requests, own.store, own.settings["dtype"])
        if scorer in (CONTINUATIONS, PERPLEXITY):
            return score_windows(asked, requests, own.store, own.settings["dtype"])
        whole = read_questions(asked.questions)
        table = first_questions(whole, settings["limit"])
        tasks, subsets = load_tasks(table, benchmark)
        stored = StoredLM(requests, self._configuration.store)
        results = run_tasks(stored, tasks, benchmark, settings)
        positions = original_positions(table)
        samples = [
            {"task": task}
            | _without_text(sample, tasks["tasks"][task])
            | {"doc_id": positions[subsets[task]][sample["doc_id"]]}
            for task in sorted(subsets)
            for sample in sorted(results["samples"][task], key=lambda sample: sample["doc_id"])
        ]
        headline, others = quantities(benchmark)
        scores = question_scores(samples, headline, tasks["tasks"])
        if headline.weights is not None:  # its tasks ask the same questions
            subsets = {headline.name: subsets[next(iter(headline.weights))]}
        places = places_of_questions(table)
        beside = {
            name: (other.metric, question_scores(samples, other, tasks["tasks"]))
            for name, other in others.items()
        }
        answers = Answers(
            samples,
            [own | {PLACE: places[subsets[own["task"]], own["question"]]} for own in scores],
            **asked_facts(whole, asked.questions),
            dtype=self._configuration.settings["dtype"],
            beside=beside,
        )
        require_agreement(results["results"], answers.scores, headline)
        for name, other in others.items():
            require_agreement(results["results"], beside[name][1], other)
        return answers, {
            key: results[key] for key in ("results", "versions", "n-shot", "n-samples")
        }

    def _ask(self, requests: Sequence[Mapping[str, Any]], asked: Asked) -> None:
        """Ask what the store does not hold; the model is loaded only if there is something."""
        store = self._configuration.store
        if all(row["key"] in store for row in requests):
            return
        name, settings = asked.benchmark["name"], asked.settings
        language_model = self.language_model(settings["batch_size"])
        try:
            ask(language_model, requests, store, name, settings["block"])
        except NotFiniteError as error:
            raise error.told_of(self._configuration.manifest) from None


def _without_text(sample: Mapping[str, Any], task: Task) -> Mapping[str, Any]:
    """Return a sample of lm-eval's; where it is of a whole text, without the text."""
    if task.OUTPUT_TYPE != ROLLING:
        return sample
    return {key: sample[key] for key in sample if key != "target"}


evaluate = functools.partial(evaluate_with, CausalAnswerer)
"""What the job of a causal model calls; see `lowrank.evaluate.evaluation.evaluate_with`."""
