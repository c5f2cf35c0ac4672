"""What a job needs from its surroundings, as environment variables.

These say where bytes come from, never what they are: every source is pinned. So they are no
parameters of a rule, and changing one reruns nothing.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowrank.assets.sources import HUB_VARIABLE, MIRROR_VARIABLE, require_mirror


def surroundings(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables to set for a run.

    Mirror, hub, warm start, and this Python on the path.

    Raises
    ------
    LowrankError
        If the mirror that is set is not there.
    """
    made = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        HUB_VARIABLE: "1" if config.get("hub", True) else "0",
    }
    if "LOWRANK_WARM_START" not in os.environ:
        # The first process of a run owns the servers that its jobs share.
        folder = tempfile.mkdtemp(prefix="lowrank-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        made["LOWRANK_RUN"] = str(os.getpid())
        made["LOWRANK_WARM_START"] = f"{os.getpid()}:{folder}"
    mirror = os.environ.get(MIRROR_VARIABLE) or config.get("mirror")
    if mirror:
        require_mirror(str(mirror))
        made[MIRROR_VARIABLE] = str(mirror)
    return made
