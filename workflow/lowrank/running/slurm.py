"""What a SLURM cluster says of itself."""

from __future__ import annotations

import re
import subprocess


def keeps_accounts(seconds: float = 3.0) -> bool:
    """Return whether the cluster keeps accounts of jobs that have ended, which `sacct` needs.

    The command is there on clusters without accounts, too, and fails on every call.

    Parameters
    ----------
    seconds
        How long the cluster may take to answer; one that does not is taken to keep none.
    """
    try:
        asked = subprocess.run(
            ["scontrol", "show", "config"], capture_output=True, text=True, timeout=seconds
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    found = re.search(r"^AccountingStorageType\s*=\s*(\S+)", asked.stdout, flags=re.MULTILINE)
    return found is not None and found[1] not in ("(null)", "accounting_storage/none")
