"""The jobs of past runs, as Snakemake recorded them beside the results."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lowrank.base.errors import LowrankError

SCRIPT = re.compile(r"\S*workflow/scripts/\w+\.py")


@dataclass(frozen=True)
class Job:
    """One job that ended well.

    Attributes
    ----------
    rule
        The rule's name.
    command
        The shell command; empty for a rule that has none.
    inputs, outputs
        Paths, relative to the folder of the run.
    started, ended
        Times in UTC. An output's own time of change is the end.
    """

    rule: str
    command: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    started: datetime
    ended: datetime

    @property
    def script(self) -> str:
        """The script that the command runs, relative to the folder; empty where it runs none."""
        found = SCRIPT.search(self.command)
        return found[0] if found else ""


def read_jobs(metadata: str | Path, folder: str | Path = ".") -> list[Job]:
    """Return the jobs whose outputs are still there, the earliest first.

    Snakemake keeps one record an output. Its name is the output's path in URL-safe base 64; a long
    one is cut into folders, whose names begin with `@`.

    Parameters
    ----------
    metadata
        Snakemake's folder of records, `.snakemake/metadata`.
    folder
        The folder that the run was started in.

    Raises
    ------
    LowrankError
        If there is no record of an output that is there.
    """
    from base64 import urlsafe_b64decode

    metadata, folder = Path(metadata), Path(folder)
    groups: dict[tuple[str, str], list[tuple[str, dict[str, Any]]]] = {}
    for path in sorted(metadata.rglob("*")):
        if not path.is_file():
            continue
        try:
            encoded = "".join(part.lstrip("@") for part in path.relative_to(metadata).parts)
            output = urlsafe_b64decode(encoded).decode("utf-8")
            record = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue  # cut off by a kill: Snakemake would make that output again
        if not record.get("incomplete") and record.get("endtime") and (folder / output).exists():
            command = record.get("shellcmd") or ""
            groups.setdefault((record["rule"], command or output), []).append((output, record))
    if not groups:
        raise LowrankError(f"{metadata} knows of no finished job; run `make reproduce` first")
    return sorted(map(_job, groups.values()), key=lambda job: (job.started, job.outputs))


def _job(group: Iterable[tuple[str, dict[str, Any]]]) -> Job:
    outputs, records = zip(*group, strict=True)
    ended = max(record["endtime"] for record in records)
    started = min(record.get("starttime") or ended for record in records)
    return Job(
        rule=records[0]["rule"],
        command=records[0].get("shellcmd") or "",
        inputs=tuple(records[0].get("input") or ()),
        outputs=tuple(sorted(outputs)),
        started=_time(min(started, ended)),
        ended=_time(ended),
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
