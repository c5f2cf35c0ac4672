"""What this machine can run, what it cannot, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lowrank.assets import is_present, mirror_root

GIGABYTE = 1e9
DISK, MEMORY = 8 * GIGABYTE, 8 * GIGABYTE
"""What the embedded default needs with room to spare: measured 2.1 + 1.6 GB and about 5 GB."""

OK, LACKING, BROKEN = "ok", "without", "problem"

SECONDS = 3.0


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes
    ----------
    name
        What was looked at.
    state
        `ok`; `without`: something optional is not there; `problem`: the default cannot run.
    says
        What was found.
    remedy
        What to do about it, if anything.
    """

    name: str
    state: str
    says: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{self.state:>8}  {self.name}: {self.says}{remedy}"


def examine(lock: str | Path, benchmarks: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """Return what there is to say of this machine, in a few seconds.

    Parameters
    ----------
    lock
        The pinned requirements.
    benchmarks
        From a benchmark to its entry in `config/benchmarks/`.
    """
    checks: list[Callable[[], Finding]] = [
        _python,
        lambda: _pins(lock),
        _disk,
        _memory,
        _gpus,
        _slurm,
        _hub,
        _token,
        _mirror,
        lambda: _benchmarks(benchmarks),
    ]
    with ThreadPoolExecutor(len(checks)) as pool:
        return list(pool.map(lambda check: check(), checks))


def _python() -> Finding:
    # The Makefile refuses an older one before there is an environment to run this in.
    return Finding("Python", OK, ".".join(map(str, sys.version_info[:3])))


def _pins(lock: str | Path) -> Finding:
    wrong = []
    pins = [line for line in Path(lock).read_text(encoding="utf-8").splitlines() if "==" in line]
    for line in pins:
        name, _, version = line.split(";")[0].strip().partition("==")
        try:
            found = importlib.metadata.version(name).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            found = "missing"
        if found != version:
            wrong.append(f"{name} {found}, not {version}")
    if not wrong:
        return Finding("pins", OK, f"{len(pins)} packages as in {Path(lock).name}")
    return Finding("pins", BROKEN, f"{len(wrong)} differ ({wrong[0]})", "make clean setup")


def _disk() -> Finding:
    free = shutil.disk_usage(".").free
    says = f"{free / GIGABYTE:.0f} GB free here"
    if free >= DISK:
        return Finding("disk", OK, says)
    return Finding("disk", BROKEN, says, f"{DISK / GIGABYTE:.0f} GB are needed")


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    says = f"{total / GIGABYTE:.0f} GB, {os.cpu_count()} cores"
    if total >= MEMORY:
        return Finding("memory", OK, says)
    return Finding(
        "memory", BROKEN, says, "one job at a time may fit: snakemake --cores 1 --configfile …"
    )


def _gpus() -> Finding:
    remedy = "config/laptop.yaml needs none; the paper's scale does"
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(n) for n in range(pynvml.nvmlDeviceGetCount())]
        names = [str(pynvml.nvmlDeviceGetName(handle)) for handle in handles]
    except Exception as error:
        return Finding("GPUs", LACKING, f"NVML cannot be used ({error})", remedy)
    if not names:
        return Finding("GPUs", LACKING, "none", remedy)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    says = f"{len(names)} × {names[0]}" + (f", of which {visible}" if visible is not None else "")
    return Finding("GPUs", OK, says, f"snakemake --cores all --resources gpu={len(names)}")


def _slurm() -> Finding:
    if shutil.which("sbatch") is None:
        return Finding("SLURM", LACKING, "no sbatch here", "jobs run on this machine")
    try:
        asked = subprocess.run(
            ["sinfo", "-h", "-o", "%P"], capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return Finding("SLURM", LACKING, "sinfo does not answer", "ask the cluster's staff")
    if asked.returncode:
        reason = (asked.stderr.strip().splitlines() or ["no reason given"])[-1]
        return Finding("SLURM", LACKING, f"sinfo fails ({reason})", "is this a login node?")
    partitions = ", ".join(asked.stdout.split())
    return Finding(
        "SLURM", OK, f"partitions {partitions}", "snakemake --workflow-profile profiles/slurm"
    )


def _hub() -> Finding:
    address = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), SECONDS).close()
    except OSError as error:
        return Finding(
            "hub",
            LACKING,
            f"{address.hostname} cannot be reached ({error})",
            "wheels and a mirror do",
        )
    return Finding("hub", OK, f"{address.hostname} answers")


def _token() -> Finding:
    from huggingface_hub import get_token

    if get_token():
        return Finding("licence", OK, "a hub token is set; the hub says if it covers Llama 2")
    return Finding(
        "licence",
        LACKING,
        "no hub token",
        "for Llama 2 accept its licence on the hub, then `hf auth login`",
    )


def _mirror() -> Finding:
    folder = mirror_root()
    if folder is None:
        return Finding("mirror", LACKING, "LOWRANK_MIRROR is not set", "only TruthfulQA wants one")
    if not folder.is_dir():
        return Finding("mirror", BROKEN, f"{folder} is no directory", "set LOWRANK_MIRROR anew")
    return Finding("mirror", OK, str(folder))


def _benchmarks(entries: Mapping[str, Mapping[str, Any]]) -> Finding:
    there = [name for name, entry in entries.items() if _has_source(entry)]
    missing = [name for name in entries if name not in there]
    says = f"{', '.join(there) or 'none'} can be fetched"
    if not missing:
        return Finding("benchmarks", OK, says)
    return Finding(
        "benchmarks",
        LACKING if there else BROKEN,
        f"{says}; not {', '.join(missing)}",
        "set LOWRANK_MIRROR, or `hub: true`",
    )


def _has_source(entry: Mapping[str, Any]) -> bool:
    return any(is_present(source, entry.get("subsets", [])) for source in entry["sources"])
