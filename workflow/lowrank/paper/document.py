"""Build the report: a Typst template beside the files that it reads, nothing else in reach."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typst

from lowrank.base.errors import LowrankError
from lowrank.base.files import atomic_path, write_json


def build_document(
    template: str | Path, inputs: Mapping[str, Mapping[str, Any]], output: str | Path
) -> None:
    """Compile a template to PDF, the same bytes each time.

    Parameters
    ----------
    template
        The Typst source.
    inputs
        From the name that the template uses to a file: its `path` and, for a figure, the `rule` and
        `script` that made it and its `data` (a path, or None where it has none). The template finds
        the files under `inputs/`, and all of this in `inputs.json`.
    output
        The PDF to write.

    Raises
    ------
    LowrankError
        If the template does not compile; the message is Typst's.
    """
    with tempfile.TemporaryDirectory() as workspace:
        folder = Path(workspace)
        for name, made in inputs.items():
            target = folder / "inputs" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(made["path"], target)
        write_json(folder / "inputs.json", inputs)
        shutil.copyfile(template, folder / "document.typ")
        try:
            made = typst.compile(
                folder / "document.typ", root=folder, ignore_system_fonts=True, timestamp=0
            )
        except RuntimeError as error:
            raise LowrankError(f"{template} does not compile: {error}") from None
    with atomic_path(output) as temporary:
        temporary.write_bytes(made)
