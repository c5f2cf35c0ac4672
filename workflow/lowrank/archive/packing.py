"""Write the archive of a run: a compressed tar that is a research object crate."""

from __future__ import annotations

import io
import json
import tarfile
import time
from pathlib import Path

from lowrank.archive.contents import METADATA, contents, of_other_runs
from lowrank.archive.crate import PREVIEW, describe
from lowrank.archive.jobs import Job, read_jobs
from lowrank.archive.preview import render
from lowrank.base.errors import LowrankError
from lowrank.base.files import atomic_path, read_json, read_yaml

DESCRIPTION = "ro-crate-metadata.json"


def pack(folder: str | Path, results: str, figures: str, output: str | Path) -> int:
    """Pack a run's results, figures, provenance and sources, and describe them.

    Parameters
    ----------
    folder
        The folder of the run, with the workflow's sources in it.
    results, figures
        The folders of the run's results and figures, relative to `folder`.
    output
        The `.tar.gz` to write. Files keep their times, so nothing reruns where it is unpacked.

    Returns
    -------
    int
        The number of files that were packed.

    Raises
    ------
    LowrankError
        If there is no complete run.
    """
    folder = Path(folder)
    results, figures = (Path(root).as_posix() for root in (results, figures))
    packed = contents(folder, results, figures)
    claims = folder / results / "claims.json"
    if not claims.exists():
        raise LowrankError(f"{claims} is not there: the run is not complete, run it to its end")
    ledger = read_json(claims)
    citation = read_yaml(folder / "CITATION.cff")
    jobs = _jobs_of(folder, results, figures)
    described = describe(packed, jobs, citation, results, figures)
    page = render(citation, ledger, packed, jobs, results, figures)
    with atomic_path(output) as temporary, tarfile.open(temporary, "w:gz") as archive:
        _add_text(archive, DESCRIPTION, json.dumps(described, indent=1, ensure_ascii=False))
        _add_text(archive, PREVIEW, page)
        for file in packed:
            archive.add(file.path, file.name, recursive=False, filter=_without_owner)
    return len(packed) + 2


def _jobs_of(folder: Path, results: str, figures: str) -> list[Job]:
    """Return the jobs of one run: Snakemake's records are of all runs in a folder."""
    others = of_other_runs(folder, results, figures)
    own = (f"{results}/", f"{figures}/")
    jobs = [
        job
        for job in read_jobs(folder / METADATA, folder)
        if any(path.startswith(own) and not path.startswith(others) for path in job.outputs)
    ]
    if not jobs:
        raise LowrankError(f"{folder / METADATA} knows of no job that made {results}: run it again")
    return jobs


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode("utf-8")
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime = len(content), int(time.time())
    archive.addfile(entry, io.BytesIO(content))


def _without_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry
