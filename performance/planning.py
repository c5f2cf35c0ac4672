"""Time what the workflow's planning costs: dry runs, and runs that have nothing to do.

Everything is planned in a temporary copy. For the runs with nothing to do, each rule's command is
replaced by one that only makes its outputs, and the workflow is run once with them. The baseline
in the same run is Snakemake's own start: a workflow of one job.

Example::

    PYTHONPATH=workflow:tests python performance/planning.py --configurations 5000
"""

from __future__ import annotations

import argparse
import os
import pstats
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from lowrank.space.methods import METHODS
from workflow_copy import copy_workflow

MODELS = ["llama-2-7b-chat", "llama-2-7b", "bert-base-squad"]
LAYERS = 32
ONLY_OUTPUTS = (
    "for path in {output}; do case $path in */weights) mkdir -p $path;; *) touch $path;; esac; done"
)
"""The command of a job that only makes its outputs."""


def paper_workflow(folder: Path) -> Path:
    """Copy the workflow, with the paper's scale, `MODELS`, and Table 4.2 by every method."""
    copy_workflow(folder)
    studies = folder / "config" / "studies"
    table = yaml.safe_load((studies / "table_4_2.yaml").read_text())
    kept = {key: table[key] for key in ("family", "depth", "configurations")}
    methods = {  # those that any rank will do for, and are not there already
        name: {"method": name, "calibration": "prose"}
        for name, own in METHODS.items()
        if own.scope == "tensor" and not own.factors_of and name != table["method"]
    }
    by_method = {"title": "Every method", **kept, "series": methods}
    (studies / "every_method.yaml").write_text(yaml.safe_dump(by_method))
    chosen = yaml.safe_load((folder / "config" / "config.yaml").read_text())["studies"]
    # Jobs that do nothing need no GPU.
    change_config(folder, {"models": MODELS, "studies": [*chosen, "every_method"], "device": "cpu"})
    return folder


def change_config(folder: Path, change: dict[str, object]) -> None:
    """Change keys of a copy's configuration."""
    path = folder / "config" / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | change))


def only_make_outputs(folder: Path) -> None:
    """Replace the command of every rule of a copy."""
    for path in (folder / "workflow" / "rules").glob("*.smk"):
        rules = re.sub(
            r"(?m)^    shell:\n(?:        .*\n)+",
            f'    shell:\n        "{ONLY_OUTPUTS}"\n',
            path.read_text(),
        )
        path.write_text(rules)


def run(folder: Path, *arguments: str) -> tuple[float, str]:
    """Return the seconds that Snakemake takes in a folder, and what it prints."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise SystemExit(f"error: {' '.join(command)} failed:\n{done.stdout}{done.stderr}"[-3000:])
    return seconds, done.stdout + done.stderr


def jobs_of(printed: str) -> int:
    """Return the total of Snakemake's table of jobs."""
    found = re.search(r"^total +(\d+)$", printed, flags=re.MULTILINE)
    return int(found[1]) if found else 0


def many_configurations(folder: Path, count: int) -> None:
    """Add a study of `count` random sets of layers, evaluated on one benchmark."""
    generator = random.Random(0)
    chosen: set[tuple[int, ...]] = set()
    while len(chosen) < count:
        layers = range(1, LAYERS + 1)
        chosen.add(tuple(sorted(generator.sample(layers, generator.randint(1, LAYERS)))))
    configurations = {str(index): {"layers": list(c)} for index, c in enumerate(sorted(chosen))}
    study = {"title": "Many", "family": "llama", "depth": LAYERS, "configurations": configurations}
    (folder / "config" / "studies" / "many.yaml").write_text(yaml.safe_dump(study))
    benchmarks = {"arc_easy": {"limit": None}}
    models = ["llama-2-7b-chat"]
    change_config(folder, {"models": models, "studies": ["many"], "benchmarks": benchmarks})


def largest_parts(folder: Path, count: int = 8) -> None:
    """Print the functions of Snakemake and of ours that a dry run spends most in."""
    statistics = folder / "statistics"
    command = [sys.executable, "-m", "cProfile", "-o", str(statistics), "-m", "snakemake"]
    subprocess.run([*command, "-n", "--quiet", "all"], cwd=folder, capture_output=True, check=True)
    entries = pstats.Stats(str(statistics)).stats  # type: ignore[attr-defined]
    total = sum(own for _, _, own, _, _ in entries.values())
    ranked = sorted(entries.items(), key=lambda entry: -entry[1][2])[:count]
    print(f"\nwhere a dry run of many configurations spends its time ({total:.0f} s, profiled)")
    for (file, _, function), (_, calls, own, _, _) in ranked:
        name = f"{Path(file).parent.name}/{Path(file).name}" if file != "~" else "built in"
        print(f"  {100 * own / total:4.1f}%  {calls:>10,} calls  {function} ({name})")


def main() -> None:
    """Print a line for each kind of planning."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configurations", type=int, default=5000)
    arguments = parser.parse_args()
    os.environ.pop("LOWRANK_MIRROR", None)
    with tempfile.TemporaryDirectory() as workspace:
        one = Path(workspace) / "one"
        one.mkdir()
        (one / "Snakefile").write_text("rule all:\n    shell: 'true'\n")
        baseline, _ = run(one, "-n")
        print(f"{'':34}{'jobs':>7}{'seconds':>9}{'× start':>9}")
        print(f"{'Snakemake’s own start':34}{1:>7}{baseline:>9.1f}{1:>9.1f}")

        def report(name: str, jobs: int, seconds: float) -> None:
            print(f"{name:34}{jobs:>7}{seconds:>9.1f}{seconds / baseline:>9.1f}", flush=True)

        folder = paper_workflow(Path(workspace) / "paper")
        seconds, printed = run(folder, "-n", "--quiet", "rules")
        jobs = jobs_of(printed)
        report("paper's scale, dry run", jobs, seconds)
        only_make_outputs(folder)
        made, _ = run(folder, "--quiet", "rules", "reason")
        report("paper's scale, jobs that do nothing", jobs, made)
        seconds, printed = run(folder)
        if "Nothing to be done" not in printed:
            raise SystemExit(f"error: there was something to do:\n{printed[-2000:]}")
        report("paper's scale, nothing to do", jobs, seconds)
        folder = paper_workflow(Path(workspace) / "many")
        many_configurations(folder, arguments.configurations)
        seconds, printed = run(folder, "-n", "--quiet", "rules")
        report(f"{arguments.configurations} configurations, dry run", jobs_of(printed), seconds)
        largest_parts(folder)


if __name__ == "__main__":
    main()
