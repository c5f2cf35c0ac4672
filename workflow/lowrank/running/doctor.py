"""What this machine can run, what it cannot, and what to do about it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lowrank.assets.sources import HUB_VARIABLE, MIRROR_VARIABLE, hub_error, is_present, mirror_root
from lowrank.base.errors import LowrankError, one_line
from lowrank.project.configuration import Project
from lowrank.running.devices import device_pool
from lowrank.running.nvml import NvmlError, open_nvml
from lowrank.running.slurm import keeps_accounts
from lowrank.sandbox.programs import sandbox_kind

GIGABYTE = 1e9
DISK, MEMORY = 8 * GIGABYTE, 8 * GIGABYTE
"""What the embedded default needs with room to spare: measured 2.1 + 1.6 GB and about 5 GB."""

OK, LACKING, BROKEN = "ok", "without", "problem"

SECONDS = 4.0
"""How long the checks of this machine may take, and how long those of the scales."""


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
    amount
        How many bytes there are of it, where that is what was looked at.
    """

    name: str
    state: str
    says: str
    remedy: str = ""
    amount: float = 0.0

    def __str__(self) -> str:
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{self.state:>8}  {self.name}: {self.says}{remedy}"


@dataclass(frozen=True)
class Scale:
    """A scale of the workflow: the command that runs it and its merged configuration."""

    name: str
    command: str
    config: Mapping[str, Any]


def examine(lock: str | Path, folder: str | Path, scales: Sequence[Scale]) -> list[Finding]:
    """Return what there is to say of this machine, in less than ten seconds.

    Parameters
    ----------
    lock
        The pinned requirements.
    folder
        The folder of the configuration's registries.
    scales
        What could be run here. The last names the models whose licences are asked for.
    """
    with _surroundings(scales[-1].config):
        findings = _bounded(
            {
                "Python": _python,
                "pins": lambda: _pins(lock),
                "disk": _disk,
                "memory": _memory,
                "GPUs": _gpus,
                "SLURM": _slurm,
                "hub": _hub,
                "licences": lambda: _licences(scales[-1].config, folder),
                "mirror": _mirror,
                "sandbox": _sandbox,
            }
        )
    found = {finding.name: finding for finding in findings}
    # One after the other: each has surroundings of its own.
    return findings + [
        finding
        for scale in scales
        for finding in _bounded({scale.name: lambda scale=scale: _scale(scale, folder, found)})
    ]


def _bounded(checks: Mapping[str, Callable[[], Finding]]) -> list[Finding]:
    """Run checks side by side; one that fails, or never ends, is a finding of its own.

    What hangs (a name server, a driver) is left behind: the threads do not outlive the program.
    """
    made: dict[str, Finding] = {}

    def run(name: str, check: Callable[[], Finding]) -> None:
        try:
            made[name] = check()
        except Exception as error:
            says = f"cannot be checked ({type(error).__name__}: {one_line(error)})"
            made[name] = Finding(name, BROKEN, says[:300])

    threads = [threading.Thread(target=run, args=item, daemon=True) for item in checks.items()]
    deadline = time.monotonic() + SECONDS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = f"no answer in {SECONDS:.0f} s"
    return [made.get(name) or Finding(name, LACKING, late, "try again later") for name in checks]


@contextlib.contextmanager
def _surroundings(config: Mapping[str, Any]) -> Iterator[None]:
    """Let mirror and hub be those of a configuration, as a run would."""
    before = {name: os.environ.get(name) for name in (HUB_VARIABLE, MIRROR_VARIABLE)}
    os.environ[HUB_VARIABLE] = "1" if config.get("hub", True) else "0"
    if config.get("mirror") and not before[MIRROR_VARIABLE]:
        os.environ[MIRROR_VARIABLE] = str(config["mirror"])
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


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
    return Finding(
        "pins", BROKEN, f"{len(wrong)} differ ({wrong[0]})", "rm -rf .venv && make setup"
    )


def _disk() -> Finding:
    free = shutil.disk_usage(".").free
    says = f"{free / GIGABYTE:.0f} GB free here"
    if free >= DISK:
        return Finding("disk", OK, says, amount=free)
    return Finding("disk", BROKEN, says, f"{DISK / GIGABYTE:.0f} GB are needed", free)


def _memory() -> Finding:
    total = memory_limit()
    says = f"{total / GIGABYTE:.0f} GB, {len(os.sched_getaffinity(0))} cores"
    if total >= MEMORY:
        return Finding("memory", OK, says, amount=total)
    remedy = "one job at a time may fit: snakemake --cores 1 --configfile …"
    return Finding("memory", BROKEN, says, remedy, total)


def memory_limit(root: str | Path = "/") -> float:
    """Return the bytes that this process may use: the machine's, or its control group's limit.

    Parameters
    ----------
    root
        Where `proc` and `sys` are.
    """
    limits = [float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))]
    try:
        lines = Path(root, "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        mount = Path(root, "sys/fs/cgroup", controllers)
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        # A limit of any group around ours holds, too.
        inner = mount / place.lstrip("/")
        for group in (inner, *inner.parents):
            with contextlib.suppress(OSError, ValueError):  # none there, or the word `max`
                limits.append(float((group / name).read_text(encoding="utf-8")))
            if group == mount:
                break
    return min(limits)


def _gpus() -> Finding:
    remedy = "config/laptop.yaml needs none; the paper's scale does"
    try:
        pool = device_pool()
    except LowrankError as error:
        return Finding("GPUs", LACKING, str(error).partition(";")[0], remedy)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not pool:
        says = "none" if visible is None else f"none visible (CUDA_VISIBLE_DEVICES={visible!r})"
        return Finding("GPUs", LACKING, says, remedy)
    try:
        gpus = open_nvml().visible(pool)
        names = dict.fromkeys(str(gpu.read("nvmlDeviceGetName")) for gpu in gpus)
        memory = min(float(gpu.read("nvmlDeviceGetMemoryInfo").total) for gpu in gpus)
    except NvmlError as error:
        return Finding("GPUs", LACKING, f"{','.join(pool)} cannot be asked: {error}", remedy)
    says = f"{len(pool)} × {' or '.join(names)}, {memory / GIGABYTE:.0f} GB"
    says += f" (CUDA_VISIBLE_DEVICES={visible})" if visible is not None else ""
    advice = f"snakemake --cores all --resources gpu={len(pool)}"
    return Finding("GPUs", OK, says, advice, memory)


def _slurm() -> Finding:
    if shutil.which("sbatch") is None:
        return Finding("SLURM", LACKING, "no sbatch here", "jobs run on this machine")
    try:
        asked = subprocess.run(
            ["sinfo", "-h", "-o", "%P"], capture_output=True, text=True, timeout=SECONDS * 0.7
        )
    except subprocess.TimeoutExpired:
        return Finding("SLURM", LACKING, "sinfo does not answer", "ask the cluster's staff")
    if asked.returncode:
        reason = (asked.stderr.strip().splitlines() or ["no reason given"])[-1]
        return Finding("SLURM", LACKING, f"sinfo fails ({reason})", "is this a login node?")
    asks = "sacct" if keeps_accounts() else "squeue, since it keeps no accounts"
    says = f"partitions {', '.join(asked.stdout.split())}; jobs are asked for by {asks}"
    return Finding("SLURM", OK, says, "snakemake --workflow-profile profiles/slurm")


def _is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _hub() -> Finding:
    if _is_offline():
        says = "HF_HUB_OFFLINE is set: only what is in the local cache"
        return Finding("hub", LACKING, says, "unset it, or let wheels and a mirror do")
    address = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), SECONDS * 0.7).close()
    except OSError as error:
        says = f"{address.hostname} cannot be reached ({error})"
        return Finding("hub", LACKING, says, "wheels and a mirror do")
    return Finding("hub", OK, f"{address.hostname} answers")


def _licences(config: Mapping[str, Any], folder: str | Path) -> Finding:
    """Ask the hub, with the user's token, for a small file of every model that it would send."""
    models = Project(config, folder).models.values()
    sources = [
        source
        for model in models
        for source in model.sources
        if "hub" in source and not any(is_present(s) for s in model.sources if "hub" not in s)
    ]
    if _is_offline() or not sources:
        return Finding("licences", LACKING, "the hub is not asked", "HF_HUB_OFFLINE, or no need")
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    for source in sources:
        url = hf_hub_url(source["hub"], "config.json", revision=source["revision"])
        try:
            get_hf_file_metadata(url, timeout=SECONDS * 0.5)
        except Exception as error:
            return Finding("licences", LACKING, str(hub_error(source["hub"], error)))
    return Finding("licences", OK, f"the hub gives {', '.join(s['hub'] for s in sources)}")


def _mirror() -> Finding:
    folder = mirror_root()
    if folder is None:
        return Finding("mirror", LACKING, "LOWRANK_MIRROR is not set", "only TruthfulQA wants one")
    if not folder.is_dir():
        remedy = "set LOWRANK_MIRROR (or `mirror` in the configuration) anew"
        return Finding("mirror", BROKEN, f"{folder} is no directory", remedy)
    return Finding("mirror", OK, str(folder))


def _sandbox() -> Finding:
    try:
        kind = sandbox_kind()
    except LowrankError as error:
        says, _, remedy = str(error).partition("; ")
        return Finding("sandbox", LACKING, says, remedy)
    return Finding("sandbox", OK, f"programs of a model run in {kind} of their own")


def _scale(scale: Scale, folder: str | Path, found: Mapping[str, Finding]) -> Finding:
    """Return whether a scale can run here, and what it lacks.

    Parameters
    ----------
    scale
        The scale.
    folder
        The folder of the configuration's registries.
    found
        What was found of the machine, by name.
    """
    on_gpu = scale.config["device"] == "cuda"
    state = LACKING if on_gpu else BROKEN
    with _surroundings(scale.config):
        try:
            project = Project(scale.config, folder)
        except LowrankError as error:
            return Finding(scale.name, state, str(error))
        # Two bytes a number, once in the hub's cache or the results, and as much for factors.
        weights = [2.0 * model.architecture.parameters() for model in project.models.values()]
        disk = DISK + (2 * sum(weights) if on_gpu else 0)
        lacks = [] if found["pins"].state == OK else ["the pinned packages"]
        if found["disk"].amount < disk:
            lacks.append(f"{disk / GIGABYTE:.0f} GB of disk")
        if not on_gpu and found["memory"].amount < MEMORY:
            lacks.append(f"{MEMORY / GIGABYTE:.0f} GB of memory")
        if on_gpu and found["GPUs"].amount < max(weights):
            lacks.append(f"a GPU with {max(weights) / GIGABYTE:.0f} GB or more")
        assets = {name: (model.sources, None) for name, model in project.models.items()}
        assets |= {name: project.sources_of(name) for name in project.benchmarks}
        of_the_hub = []
        for name, (sources, subsets) in assets.items():
            chosen = next((s for s in sources if is_present(s, subsets)), None)
            if chosen is None:
                lacks.append(f"a source of {name}")
            elif "hub" in chosen and found["hub"].state != OK:
                of_the_hub.append(name)
        if of_the_hub:
            lacks.append(f"the hub (for {', '.join(of_the_hub)})")
        if any("hub" in source for model in project.models.values() for source in model.sources):
            licence = found["licences"]
            if project.settings["hub"] and found["hub"].state == OK and licence.state != OK:
                lacks.append("a licence or token (see licences)")
    if lacks:
        return Finding(scale.name, state, f"cannot run here: lacks {', '.join(lacks)}")
    left_out = ", ".join(project.unavailable_benchmarks)
    without = f", without {left_out} (LOWRANK_MIRROR or `hub: true`)" if left_out else ""
    return Finding(scale.name, OK, f"can run here{without}", scale.command)
