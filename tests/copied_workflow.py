"""A copy of the workflow with a tiny model and tiny benchmarks in a local mirror."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import tiny
import yaml
from workflow_copy import copy_workflow

PARTS = ("results", "figures", "logs", ".snakemake", "mirror")


class Workflow:
    """A folder with the workflow in it, and what a test wants to do there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("LOWRANK_")}
        return kept | {"LOWRANK_MIRROR": str(self.folder / "mirror"), "HF_HUB_OFFLINE": "1"}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]

    def run(self, *arguments: str) -> str:
        """Run the workflow to its end and return what it prints."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """End a started workflow and its jobs as a power cut would."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def jobs(self, *arguments: str) -> dict[str, int]:
        """Return how many jobs of each rule a run would do."""
        output = self.run("-n", *arguments)
        table = output.rpartition("Job stats:")[2] if "Job stats:" in output else ""
        rows = re.findall(r"^([a-z_0-9]+) +(\d+)$", table, flags=re.MULTILINE)
        return {rule: int(count) for rule, count in rows if rule not in ("all", "total")}

    def edit_yaml(self, name: str, change: object) -> None:
        path = self.folder / name
        content = yaml.safe_load(path.read_text())
        change(content)
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    def edit_code(self, name: str) -> None:
        """Append a statement to a module: a real edit, whatever the module does."""
        with open(self.folder / name, "a") as file:
            file.write("\n_EDITED = True\n")


def make_workflow(folder: Path) -> Workflow:
    """Copy the workflow and put the tiny inputs in its place."""
    copy_workflow(folder)
    mirror, config = folder / "mirror", folder / "config"
    tiny.save_model(mirror / "tiny")
    tables = {"arc_easy": tiny.arc_rows(12), "winogrande": tiny.winogrande_rows(12)}
    for name, table in tables.items():
        path = tiny.write_parquet(table, mirror / f"{name}.parquet")
        entry = yaml.safe_load((config / "benchmarks" / f"{name}.yaml").read_text())
        entry["questions"] = len(table)
        entry["sources"] = [{"mirror": f"{name}.parquet", "sha256": tiny.sha256(path)}]
        (config / "benchmarks" / f"{name}.yaml").write_text(yaml.safe_dump(entry))
    sums = {path.name: tiny.sha256(path) for path in (mirror / "tiny").iterdir()}
    model = {
        "label": "Tiny",
        "sources": [{"mirror": "tiny", "sha256": sums}],
        "architecture": tiny.ARCHITECTURE,
    }
    (config / "models" / "tiny.yaml").write_text(yaml.safe_dump(model))
    study = {
        "title": "Tiny",
        "figure": "figure_4_1",
        "configurations": {
            "one": {"layers": [2]},
            "two": {"layers": [2, 4]},
            "all": {"layers": ["1-4"]},
        },
    }
    (config / "studies" / "table_4_2.yaml").write_text(yaml.safe_dump(study))
    run = {
        "models": ["tiny"],
        "studies": ["table_4_2"],
        "benchmarks": {"arc_easy": {"limit": 6}, "winogrande": {"limit": 6}},
        "profile": {
            "workloads": [
                {"phase": "prefill", "prompt": 8, "new_tokens": 0, "batch": 1},
                {"phase": "decode", "prompt": 8, "new_tokens": 2, "batch": 1},
            ],
            "benchmarks": ["arc_easy"],
            "rows": 1,
            "batch": 1,
            "trials": 5,
            "seconds": 0,
            "warm_up": 3,
        },
        "device": "cpu",
        "dtype": "float32",
        "batch_size": 4,
        "hub": False,
    }
    (config / "config.yaml").write_text(yaml.safe_dump(run))
    return Workflow(folder)
