"""What goes into the archive of a run, under which name, and what stays out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lowrank.base.errors import LowrankError

METADATA = ".snakemake/metadata"

SOURCES = (
    *("Snakefile", "workflow", "config", "paper", "docs", "figures/README.md", "profiles"),
    *("Makefile", ".ci", "pyproject.toml", "environment.yml", "Dockerfile", "apptainer.def"),
    *("requirements.in", "requirements.lock", "requirements-dev.in", "requirements-dev.lock"),
    *("performance", "tests", "README.md", "LICENSE", "CITATION.cff", ".zenodo.json"),
)
"""What made the results. It goes to `SOURCE`, so that unpacking changes no file of a clone."""

SOURCE = "source"

LEFT_OUT = {
    "wheels": "fetched anew, by the checksum in config/models",
    "weights": "a dense model as its authors published it: fetched anew, by its checksum",
    "factors": "what configurations are cut from: `snakemake <path>` makes it anew",
    "exported": "a dense copy of a compressed model: `snakemake <path>` makes it anew",
}
"""Folders of results that stay out, and how to get them. Nothing that is packed needs them."""

LARGEST = 100_000_000
"""Bytes of a file. A larger one is a model that a job makes anew, and stays out, too."""

_WORKSPACE = re.compile(r"\..+\.\w{8}")  # what a killed job leaves beside its output


@dataclass(frozen=True)
class Packed:
    """A file of the archive: where it is now, and its path in the archive."""

    path: Path
    name: str


def contents(folder: str | Path, results: str, figures: str) -> list[Packed]:
    """Return the files of an archive, sorted by name.

    Parameters
    ----------
    folder
        The folder of the run, with the workflow's sources in it.
    results, figures
        The folders of the run's results and figures, relative to `folder`.

    Raises
    ------
    LowrankError
        If there are no results.
    """
    folder = Path(folder)
    for name in (results, METADATA):
        if not (folder / name).is_dir():
            raise LowrankError(f"{folder / name} is not there: run `make reproduce` first")
    others = of_other_runs(folder, results, figures)
    made = [
        Packed(path, path.relative_to(folder).as_posix())
        for name in (results, figures, METADATA)
        for path in _files(folder / name)
    ]
    made = [packed for packed in made if not packed.name.startswith(others)]
    made += [
        Packed(path, f"{SOURCE}/{path.relative_to(folder).as_posix()}")
        for name in SOURCES
        for path in _files(folder / name)
    ]
    return sorted(made, key=lambda packed: packed.name)


def of_other_runs(folder: str | Path, results: str, figures: str) -> tuple[str, ...]:
    """Return how paths of other scales' runs begin, whose folders lie inside those of this run."""
    names = [
        entry.name for entry in (Path(folder) / results).iterdir() if (entry / "models").is_dir()
    ]
    return tuple(f"{root}/{name}/" for root in (results, figures) for name in sorted(names))


def reason_left_out(name: str) -> str:
    """Return why a path of a run is not in the archive, and how to get it."""
    for part in Path(name).parts:
        if part in LEFT_OUT:
            return f"Not in the archive: {LEFT_OUT[part].replace('<path>', name)}."
    return (
        f"Not in the archive: larger than {LARGEST // 10**6} MB, or not kept by the run: "
        f"`snakemake {name}` makes it anew."
    )


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        if path.stat().st_size <= LARGEST:
            yield path
    elif path.is_dir():
        for entry in sorted(path.iterdir()):
            is_dropped = entry.name in LEFT_OUT and entry.is_dir()
            if not (is_dropped or entry.name == "__pycache__" or _WORKSPACE.fullmatch(entry.name)):
                yield from _files(entry)
