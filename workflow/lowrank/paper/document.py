"""Build the report: a Typst template beside the files that it reads, nothing else in reach."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowrank.base.errors import LowrankError
from lowrank.base.files import write_json
from lowrank.tables.typesetting import compile_document


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
        index = Path(workspace, "inputs.json")
        write_json(index, inputs)
        files = {f"inputs/{name}": made["path"] for name, made in inputs.items()}
        source = Path(template).read_text(encoding="utf-8")
        try:
            compile_document(source, {**files, "inputs.json": index}, output)
        except RuntimeError as error:
            raise LowrankError(f"{template} does not compile: {error}") from None
