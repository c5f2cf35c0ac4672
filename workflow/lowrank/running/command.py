"""Run the workflow from within Python, as the Makefile does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lowrank.base.errors import LowrankError

GUARD = ".ci/guard.sh"
"""Lets one run at a time into this folder."""


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def run_workflow(
    configfiles: Sequence[str | Path], cores: str, targets: Sequence[str | Path] = ()
) -> None:
    """Run the workflow in this folder, with its bar.

    Parameters
    ----------
    configfiles
        Configurations, each on top of those before.
    cores
        A number, or `all`.
    targets
        Files to make; all results by default.

    Raises
    ------
    LowrankError
        If the run fails; it has said why.
    """
    command = [GUARD, sys.executable, "-m", "snakemake", "--cores", cores, "--logger=progress"]
    command += [*map(str, targets), "--configfile", *map(str, configfiles)]
    environment = os.environ | {"PYTHONPATH": "workflow"}
    if subprocess.run(command, env=environment, check=False).returncode:
        raise LowrankError("the run of the workflow failed; run again to go on from here")
