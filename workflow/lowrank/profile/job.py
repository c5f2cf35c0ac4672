"""Measure configurations beside the dense model, in one process, and say what was measured."""

from __future__ import annotations

import contextlib
import functools
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from lowrank.base.errors import LowrankError, is_out_of_memory, one_line
from lowrank.base.files import read_json, write_json
from lowrank.base.names import CAPPED_BATCH, DENSE
from lowrank.base.provenance import provenance
from lowrank.decompose.compressed_format import MANIFEST
from lowrank.decompose.loading import load_base
from lowrank.profile.batch import Models, chosen_workloads
from lowrank.profile.iteration import make_work, output_is_finite
from lowrank.profile.kernels import (
    LAUNCH_BOUND,
    LEAST_SHARE,
    Captured,
    captured,
    kernel_seconds,
)
from lowrank.profile.memory import measure_memory, release
from lowrank.profile.nvml import nvml_meter
from lowrank.profile.rapl import rapl_meter
from lowrank.profile.rounds import (
    OURS,
    Timer,
    Trial,
    compare,
    cpu_timer,
    cuda_timer,
    paired_ratio,
    side_by_side,
    summarise,
    without_slowdowns,
)
from lowrank.profile.watch import CpuWatch, GpuWatch, doubts, throttle_flag
from lowrank.profile.workloads import (
    Requests,
    Workload,
    read_requests,
)
from lowrank.quantize.stored import load_model_beside
from lowrank.running.nvml import open_nvml

MOST_SLOWED = 1.05
"""Ratio of the energy pass's time to the other's above which the meter is said to disturb."""

IDLE_SECONDS: Mapping[str, float] = {"cuda": 4.0, "cpu": 1.0}


def profile(
    base: str | Path,
    compressed: str | Path,
    benchmarks: Iterable[tuple[str, str | Path, str | Path]],
    settings: Mapping[str, Any],
    output: str | Path,
) -> None:
    """Measure a compressed model and the dense one in turns, and write the record.

    Parameters
    ----------
    base, compressed
        Directories of the base model and of the compressed one.
    benchmarks
        What figures call a benchmark, its tokenized requests and its questions.
    settings
        See `measure`.
    output
        The record (JSON).

    Raises
    ------
    LowrankError
        If the model cannot be loaded, memory runs out, or the GPU fails.
    """
    dtype = settings["dtype"]
    requests = [(label, read_requests(*paths)) for label, *paths in benchmarks]
    manifest = read_json(Path(compressed) / MANIFEST)

    def load(device: str) -> Models:
        dense = load_base(base, dtype, device)
        return {DENSE: dense, OURS: load_model_beside(dense, compressed, dtype)}

    record = measure(load, requests, settings)[OURS]
    facts = {"base_files": manifest["base"], "factors_sha256": manifest["factors_sha256"]}
    write_json(
        output,
        {
            "model": manifest["model"],
            "decomposition": manifest["decomposition"]["name"],
            "parameter_reduction_percent": manifest["parameter_reduction_percent"],
            "quantization": manifest.get("quantization", {}).get("name"),
            **record,
            "provenance": record["provenance"] | facts,
        },
    )


def measure(
    load: Callable[[str], Models],
    requests: Sequence[tuple[str, Requests]],
    settings: Mapping[str, Any],
    keep: Callable[[dict[str, dict[str, Any]]], None] = lambda records: None,
) -> dict[str, dict[str, Any]]:
    """Measure latency, energy and memory of configurations beside the dense model.

    All models take their turns in the same rounds, in one process. With several GPUs each holds all
    models and runs its own rows at the same time, a thread a GPU.

    Parameters
    ----------
    load
        Put the dense model and the configurations on a device (`cuda:1`, `cpu`).
    requests
        What figures call a benchmark, and its requests.
    settings
        `dtype`, `device`, `gpus`, `seed`, `workloads`, `rows`, `batch`, `trials`, `seconds`,
        `warm_up`, `largest_batch`, `cuda_graphs` (config/schemas/config.schema.yaml).
    keep
        Given the records after each workload, so that a run cut short has what it measured.

    Returns
    -------
    A record for each configuration: raw trials, medians, paired ratios with intervals, memory, the
    surroundings before and after, what casts doubt on the measurement, and provenance.

    Raises
    ------
    LowrankError
        If there are not as many GPUs as asked for, memory runs out, or the GPU fails.
    """
    device = settings["device"]
    # NVML first: which processes use the GPU is asked before this one does.
    nvml = open_nvml() if device == "cuda" else None
    # The processor matters on a GPU, too: it launches the kernels.
    watches = [CpuWatch()] if nvml is None else [GpuWatch(nvml), CpuWatch()]
    devices = _devices(settings)
    uuids = _uuids(devices)
    before = [watch.before(uuids) for watch in watches]
    meter = rapl_meter() if nvml is None else nvml_meter(nvml, uuids)
    with _failures("loading the models"):
        replicas = [load(place) for place in devices]
        names = [name for name in replicas[0] if name != DENSE]
        overflown = [name for name, model in replicas[0].items() if not output_is_finite(model)]
        idle_watts = meter.idle_watts(IDLE_SECONDS[device])
    with _failures("the search for a batch"):
        workloads, found = chosen_workloads(replicas[0], requests, settings)
    with _failures("the measurement of memory"):
        memory = _memory(replicas[0], workloads, settings)
    timer = side_by_side([_timer_of(place) for place in devices])
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in names}

    def records() -> dict[str, dict[str, Any]]:
        after = [watch.after(uuids) for watch in watches]
        shared = {
            "settings": dict(settings),
            "gpus": len(devices) if device == "cuda" else 0,
            "replicas": len(devices),
            "largest_batch": found,
            "energy_meter": meter.record(),
            "idle_watts": idle_watts,
            "surroundings": [
                {"before": early, "after": late} for early, late in zip(before, after, strict=True)
            ],
            "doubts": [text for pair in zip(before, after, strict=True) for text in doubts(*pair)],
            "provenance": provenance(
                device, seed=settings["seed"], torch_threads=torch.get_num_threads()
            ),
        }
        if device == "cuda" and not meter.available:
            shared["doubts"].append("throttling during the measurement is not known")
        made = {name: {**shared, "workloads": measured[name]} for name in names}
        for name in names:
            if {name, DENSE} & set(overflown):
                # Circuits switch less where all numbers are alike.
                why = f"output is not finite in {settings['dtype']}: power depends on the numbers"
                made[name] = {**made[name], "doubts": [*made[name]["doubts"], why]}
        return made

    for workload in tqdm(workloads, desc="Workloads", leave=False):
        with _failures(workload.name):
            works = {
                name: [
                    make_work(models[name], workload, settings["seed"] + number).run
                    for number, models in enumerate(replicas)
                ]
                for name in replicas[0]
            }
            why = _capture(works, devices) if settings["cuda_graphs"] and nvml else ""
            trials = compare(
                works,
                timer,
                meter,
                settings["trials"],
                settings["seconds"],
                settings["seed"],
                settings["warm_up"],
            )
            kernels = {
                name: kernel_seconds(of_name[0]) if device == "cuda" else None
                for name, of_name in works.items()
            }
            del works
            release(device)
        for name in names:
            measured[name].append(
                _workload_record(name, trials, kernels, workload, len(devices), idle_watts, why)
                | {"memory": {OURS: memory[name][workload], DENSE: memory[DENSE][workload]}}
            )
        keep(records())
    return records()


def _capture(works: dict[str, list[Callable[[], None]]], devices: Sequence[str]) -> str:
    """Replace all iterations by graphs of their kernels, or none and say why.

    Works by name, a device each. Kernels launched one by one beside others that are not would make
    a comparison of launching.
    """
    made: dict[str, list[Captured]] = {}
    for name, of_name in works.items():
        first = next(iter(made.values()), [None] * len(devices))
        try:
            made[name] = [captured(*each) for each in zip(of_name, devices, first, strict=True)]
        except RuntimeError as error:
            return f"kernels were launched one by one: {one_line(error)[:100]}"
    works.update(made)
    return ""


def _memory(
    models: Models, workloads: Sequence[Workload], settings: Mapping[str, Any]
) -> dict[str, dict[Workload, dict[str, Any]]]:
    """Return the memory of each model and workload, as if the model were alone on its GPU."""
    made = {}
    for name, model in models.items():
        others = [other for other in models.values() if other is not model]
        made[name] = {
            workload: measure_memory(model, others, workload, settings["seed"])
            for workload in workloads
        }
    return made


def _workload_record(
    name: str,
    trials: Sequence[Trial],
    kernels: Mapping[str, float | None],
    workload: Workload,
    replicas: int,
    idle_watts: float | None,
    why: str = "",
) -> dict[str, Any]:
    pair = [
        replace(trial, name=OURS if trial.name == name else DENSE)
        for trial in trials
        if trial.name in (name, DENSE)
    ]
    kept = without_slowdowns(pair)
    computing = {OURS: kernels[name], DENSE: kernels[DENSE]}
    return {
        **workload.record(),
        "rows": replicas * workload.batch,
        "tokens": replicas * workload.tokens,
        "latency": _figures(kept, "seconds"),
        "kernel_seconds": computing,
        "power": _figures(kept, "watts"),
        "energy": _figures(kept, "joules") | _shares(kept, workload, replicas, idle_watts),
        "dropped_rounds": len({one.round for one in pair}) - len({one.round for one in kept}),
        "doubts": _doubts(pair, kept, workload, computing, why),
        "trials": [trial.record() for trial in pair],
    }


def _figures(trials: Sequence[Trial], value: str) -> dict[str, Any]:
    return {
        OURS: summarise(trials, OURS, value),
        DENSE: summarise(trials, DENSE, value),
        "ratio": paired_ratio(trials, OURS, DENSE, value),
    }


def _doubts(
    trials: Sequence[Trial],
    kept: Sequence[Trial],
    workload: Workload,
    computing: Mapping[str, float | None],
    why: str,
) -> dict[str, list[str]]:
    """Return what casts doubt on everything that was measured (the device), or on energy alone."""
    device = {throttle_flag(one) for trial in kept for one in trial.throttled or ()}
    device |= {why} if why else set()
    if len(kept) < len(trials):
        device.add("rounds in which hardware or heat slowed the GPU down were dropped")
    if workload.batch_rule == CAPPED_BATCH:
        device.add(f"the search for a batch stopped at its limit of {workload.batch} rows")
    for name, seconds in computing.items():
        latency = summarise(kept, name, "seconds")
        if seconds is not None and latency and seconds < LEAST_SHARE * latency["median"]:
            device.add(LAUNCH_BOUND)
    energy = {flag for trial in kept for flag in trial.flags}
    longer = [one.energy_seconds / one.seconds for one in kept if one.energy_seconds is not None]
    if longer and statistics.median(longer) > MOST_SLOWED:
        energy.add(f"reading the meter made the work more than {MOST_SLOWED - 1:.0%} slower")
    return {"device": sorted(device), "energy": sorted(energy)}


def _shares(
    trials: Sequence[Trial], workload: Workload, replicas: int, idle_watts: float | None
) -> dict[str, Any]:
    """Return joules by token and by question, with and without what idling would have used.

    A question of a benchmark takes a row for each of its choices; fixed work asks no questions.
    """
    made = {}
    rows, tokens = replicas * workload.batch, replicas * workload.tokens
    for name in (OURS, DENSE):
        energy = summarise(trials, name, "joules")
        seconds = summarise(trials, name, "energy_seconds")
        watts = summarise(trials, name, "watts")
        if energy is None or seconds is None or watts is None:
            made[f"{name}_shares"] = None
            continue
        gross, a_row = energy["median"], energy["median"] / rows
        net = None if idle_watts is None else gross - idle_watts * seconds["median"]
        by_question = workload.rows_per_question
        made[f"{name}_shares"] = {
            "watts": watts["median"],
            "joules_per_token": gross / tokens,
            "joules_per_question": None if by_question is None else by_question * a_row,
            "net_joules": net,
            "net_joules_per_token": None if net is None else net / tokens,
        }
    return made


@contextlib.contextmanager
def _failures(what: str) -> Iterator[None]:
    """Say in one line that memory ran out or that the GPU failed during the block."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch's errors are of the second kind
        said = one_line(error)[:200]
        if is_out_of_memory(error):
            raise LowrankError(
                f"memory ran out during {what} ({said}); lower `batch`, `rows` or `largest_batch` "
                "of `profile`"
            ) from None
        if isinstance(error, torch.AcceleratorError) or "CUDA error" in said:
            raise LowrankError(
                f"the GPU failed during {what} ({said}); nothing was written"
            ) from None
        raise


def _devices(settings: Mapping[str, Any]) -> list[str]:
    """Return the devices that the job works on: of its GPUs, as many as it asks for."""
    if settings["device"] == "cpu":
        return ["cpu"]
    require_gpus(settings["gpus"])
    return [f"cuda:{index}" for index in range(settings["gpus"])]


def require_gpus(count: int) -> None:
    """Check that torch can use so many GPUs.

    Raises
    ------
    LowrankError
        If it cannot.
    """
    if not torch.cuda.is_available():
        raise LowrankError("no NVIDIA GPU can be used here; run with `device: cpu`")
    if torch.cuda.device_count() < count:
        raise LowrankError(
            f"profile: gpus: {count} is more than the {torch.cuda.device_count()} of this job"
        )


def _uuids(devices: Sequence[str]) -> list[str]:
    """Return the UUIDs of GPUs, as NVML writes them."""
    return [
        f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        for device in devices
        if device.startswith("cuda")
    ]


def _timer_of(device: str) -> Timer:
    return cpu_timer if device == "cpu" else functools.partial(cuda_timer, device=device)
