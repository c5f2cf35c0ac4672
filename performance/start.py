"""What a job takes beside asking: with its own imports, or forked from a process that has them.

Evaluations whose answers are all known are made again in turns, cold and warm, in one run. It
prints the wall time of both and their ratio. It takes what `make reproduce` leaves; the results are
written anew, with the same bytes::

    PYTHONPATH=workflow python performance/start.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

MODEL = "smollm2-135m-instruct"


def run(targets: list[str], configs: list[str], is_warm: bool, is_forced: bool = True) -> float:
    """Make evaluations on one core, again if forced; return the seconds."""
    environment = dict(os.environ)
    if not is_warm:
        environment["LOWRANK_WARM_START"] = ""
    command = [sys.executable, "-m", "snakemake", *targets, "--cores", "1", "--quiet", "all"]
    command += ["--forcerun", *targets] if is_forced else []
    begin = time.monotonic()
    subprocess.run([*command, "--configfile", *configs], check=True, env=environment)
    return time.monotonic() - begin


def main() -> None:
    """Print what a job takes, cold and warm."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--configfiles", nargs="+", default=["config/laptop.yaml"])
    parser.add_argument("--folder", default=f"results/models/{MODEL}/evaluations", type=Path)
    parser.add_argument("--jobs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    targets = [str(path) for path in sorted(arguments.folder.glob("*.json"))[: arguments.jobs]]
    seconds: dict[str, list[float]] = {"nothing": [], "cold": [], "warm": []}
    for _ in range(arguments.repeats):
        for kind, own in seconds.items():
            own.append(run(targets, arguments.configfiles, kind != "cold", kind != "nothing"))
    nothing, cold, warm = (statistics.median(own) for own in seconds.values())
    cold, warm = ((own - nothing) / len(targets) for own in (cold, warm))
    print(f"a job: cold {cold:.1f} s, warm {warm:.1f} s, ratio {cold / warm:.1f}")


if __name__ == "__main__":
    main()
