"""What was measured elsewhere, or kept of an earlier run, and stands beside a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lowrank.base.errors import LowrankError
from lowrank.base.names import DENSE
from lowrank.project.configuration import Project
from lowrank.project.studies import Model


def find_references(folder: str | Path, project: Project) -> dict[str, Path]:
    """Return the folders of records, by a name like `reference-<device>`.

    Parameters
    ----------
    folder
        The folder that holds `<device>/<model>/<decomposition>.json`.

    Raises
    ------
    LowrankError
        If one is of a model that the registry does not have.
    """
    folders = sorted(path.parent for path in Path(folder).glob(f"*/*/{DENSE}.json"))
    devices = [path.parent.name for path in folders]
    made = {}
    for path, device in zip(folders, devices, strict=True):
        try:
            project.model(path.name)
        except LowrankError as error:
            raise LowrankError(f"{folder}: {error}") from None
        several = devices.count(device) > 1
        made["-".join(["reference", device, *([path.name] if several else [])])] = path
    return made


def reference_model(references: Mapping[str, Path], name: str, project: Project) -> Model:
    """Return the model of a measurement, made by the run or elsewhere."""
    return project.model(references[name].name if name in references else name)


def find_kept_runs(folder: str | Path) -> dict[str, str]:
    """Return the ledgers of the runs that were kept, by the name of their scale.

    Parameters
    ----------
    folder
        The folder that holds `<scale>/claims.json`.
    """
    return {path.parent.name: str(path) for path in sorted(Path(folder).glob("*/claims.json"))}
