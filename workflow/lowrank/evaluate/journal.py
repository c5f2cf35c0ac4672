"""Answers of a long evaluation, kept as they come: a killed job goes on where it was.

A line of JSON holds the answers of one batch. Log-likelihoods are computed in the batches of an
undisturbed run, which is what makes a resumed job's scores the same to the last bit.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowrank.base.provenance import code_digest, versions

logger = logging.getLogger(__name__)


class AnswerJournal:
    """The journal of one job.

    Parameters
    ----------
    path
        The file; it is there only while the job has not ended well.
    identity
        What shapes an answer: code, versions, weights, number format, benchmark. Another
        identity's answers are not used.
    """

    def __init__(self, path: str | Path, identity: Any) -> None:
        self.path = Path(path)
        self._identity = identity

    def key(self, plan: Any) -> str:
        """Return the name of a plan (any JSON values) under this identity."""
        text = json.dumps([self._identity, plan], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def read(self, key: str) -> dict[int, Any]:
        """Return the answers to a plan's parts, by number; what a kill cut short is left out."""
        known: dict[int, Any] = {}
        try:
            lines = self.path.read_bytes().split(b"\n")
        except OSError:
            return known
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:  # a line cut short, or bytes that are no text
                continue
            if isinstance(entry, dict) and entry.get("key") == key:
                known |= {int(part): answer for part, answer in entry["answers"].items()}
        return known

    def add(self, key: str, answers: Mapping[int, Any]) -> None:
        """Keep the answers of a batch; a disk that takes no more costs the journal, not the job."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8") as file:
                # The line before may have been cut short: every entry begins a line of its own.
                file.write("\n" + json.dumps({"key": key, "answers": answers}))
        except OSError as error:
            logger.warning("Answers are not kept for a rerun: %s.", error)

    @property
    def database(self) -> Path:
        """Where lm-eval's own cache is kept, for what is scored by lm-eval's own model."""
        return self.path.with_name(f"{self.path.name}.{self.key('database')[:16]}")

    def remove(self) -> None:
        """Forget everything: the job has ended well."""
        for path in (self.path, *self.path.parent.glob(f"{self.path.name}.*")):
            path.unlink(missing_ok=True)


def journal_of(
    output: str | Path,
    manifest: Mapping[str, Any],
    benchmark: Mapping[str, Any],
    settings: Mapping[str, Any],
    threads: int,
    questions_sha256: str,
) -> AnswerJournal:
    """Return the journal of a job, beside its output.

    Parameters
    ----------
    output
        The result that the job makes.
    manifest
        That of the compressed model.
    benchmark, settings
        As for `lowrank.evaluate.causal.evaluate`.
    threads
        How many torch computes with.
    questions_sha256
        Checksum of the file of questions.
    """
    identity = {
        "base": manifest["base"],
        "factors": manifest["factors_sha256"],
        "code": code_digest(),
        "versions": versions(),
        "benchmark": benchmark,
        "settings": settings,
        "threads": threads,
        "questions": questions_sha256,
    }
    return AnswerJournal(Path(output).with_suffix(".journal"), identity)
