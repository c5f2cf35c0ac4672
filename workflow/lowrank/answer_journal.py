"""Answers of a long evaluation, kept as they come: a killed job goes on where it was.

A line of JSON holds the answers of one batch. Batches are those of an undisturbed run, which is
what makes a resumed job's scores the same to the last bit.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

Answers = list[tuple[float, bool]]
"""Log-likelihood and whether it is the likeliest, of each request of a sequence."""


class AnswerJournal:
    """The journal of one job.

    Parameters
    ----------
    path
        The file; it is there only while the job has not ended well.
    identity
        What shapes an answer: code, weights, number format. Another identity's answers are not
        used.
    """

    def __init__(self, path: str | Path, identity: Any) -> None:
        self._path = Path(path)
        self._identity = identity

    def key(self, plan: Any) -> str:
        """Return the name of a plan (any JSON values) under this identity."""
        text = json.dumps([self._identity, plan], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def read(self, key: str) -> dict[int, Answers]:
        """Return what is known of a plan's sequences; a line cut short ends what is read."""
        known: dict[int, Answers] = {}
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except OSError:
            return known
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                break
            if entry["key"] == key:
                for sequence, answers in entry["answers"].items():
                    known[int(sequence)] = [(value, greedy) for value, greedy in answers]
        return known

    def add(self, key: str, answers: Mapping[int, Sequence[tuple[float, bool]]]) -> None:
        """Keep the answers of a batch; a disk that takes no more costs the journal, not the job."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "answers": answers}) + "\n")
        except OSError as error:
            logger.warning("Answers are not kept for a rerun: %s.", error)

    def remove(self) -> None:
        """Forget everything: the job has ended well."""
        self._path.unlink(missing_ok=True)
