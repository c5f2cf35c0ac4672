"""What a score is worth: a baseline answers the same questions without any model.

A baseline sees the words of its questions and nothing else. A compressed model that scores no
better has kept nothing beyond them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sklearn.feature_extraction.text import CountVectorizer

from lowrank.assets.choice import SUBSET, asked_first, asking_order, read_questions
from lowrank.base.files import sha256_file, write_json
from lowrank.base.metric import Metric
from lowrank.base.provenance import provenance, versions
from lowrank.evaluate.held_out import classifier, fold_of, held_out_scores
from lowrank.evaluate.result import make_score

Rows = Sequence[Mapping[str, Any]]


def bag_of_words(rows: Rows, options: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return what the probe of `lowrank.evaluate.metrics.probe` makes of counted words.

    Folds and classifier are those of the probe; the words are those of the sentences that fit it.

    Parameters
    ----------
    rows
        `sentence` and `label`.
    options
        `folds`, of the cross-validation.

    Raises
    ------
    LowrankError
        If there are too few sentences.
    """
    sentences, labels = ([row[key] for row in rows] for key in ("sentence", "label"))
    folds = [fold_of(sentence, options["folds"]) for sentence in sentences]
    return held_out_scores(classifier(CountVectorizer(), are_counts=True), sentences, labels, folds)


def word_overlap(rows: Rows, options: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return how many of the words of a pair both sentences have, which ranks the pairs.

    It is the Jaccard index of their sets of words; letter case does not count.

    Parameters
    ----------
    rows
        `sentence1`, `sentence2` and `label`.
    options
        Not used.
    """
    made = []
    for row in rows:
        first, second = (set(row[key].lower().split()) for key in ("sentence1", "sentence2"))
        value = len(first & second) / max(len(first | second), 1)
        made.append({"value": value, "label": int(row["label"])})
    return made


FUNCTIONS: Mapping[str, Callable[[Rows, Mapping[str, int]], list[dict[str, Any]]]] = {
    "bag_of_words": bag_of_words,
    "word_overlap": word_overlap,
}
"""From each of `lowrank.project.scorers.BASELINES` to what scores each question."""


def score_baseline(
    questions: str | Path,
    benchmark: Mapping[str, Any],
    settings: Mapping[str, Any],
    output: str | Path,
) -> None:
    """Score a benchmark's baseline on the questions that the model without decomposition is asked.

    Parameters
    ----------
    questions
        The file of `lowrank.assets.questions.fetch_benchmark`.
    benchmark
        Its entry: `name`, `metric`, `options`, `baseline`.
    settings
        `limit`, `seed`, `sampling`: which questions are asked.
    output
        The result (JSON): `benchmark`, `baseline`, `label`, `score`, `questions`, `settings`,
        `provenance`.

    Raises
    ------
    LowrankError
        If the questions cannot be read, or are too few.
    """
    table = read_questions(questions)
    order = asking_order(table[SUBSET].to_pylist(), settings["seed"], settings["sampling"])
    rows = table.take(sorted(asked_first(order, settings["limit"]))).to_pylist()
    own = benchmark["baseline"]
    scores = FUNCTIONS[own["name"]](rows, benchmark["options"])
    score = make_score(scores, Metric.from_config(benchmark["metric"]))
    write_json(
        output,
        {
            "benchmark": benchmark["name"],
            "baseline": own["name"],
            "label": own["label"],
            "score": score,
            "questions": {"asked": len(rows), "available": len(table)},
            "settings": dict(settings),
            "provenance": provenance(
                questions_sha256=sha256_file(questions),
                scorer_versions=versions(["scikit-learn"]),
            ),
        },
    )
