"""Measure one configuration beside the dense model, in one process, and write the record."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from lowrank.errors import LowrankError
from lowrank.files import write_json
from lowrank.low_rank_model import load_base, load_compressed, read_manifest
from lowrank.profiling import environment
from lowrank.profiling.energy import EnergyMeter, energy_meter
from lowrank.profiling.memory import measure_memory
from lowrank.profiling.protocol import (
    Trial,
    compare,
    cpu_timer,
    cuda_timer,
    largest_batch,
    paired_ratio,
    summarise,
)
from lowrank.profiling.workloads import Workload, fixed, of_benchmark, request_lengths
from lowrank.profiling.works import make_work
from lowrank.provenance import provenance

OURS, DENSE = "configuration", "dense"


def profile(
    base: str | Path,
    compressed: str | Path,
    requests: Mapping[str, str],
    settings: Mapping[str, Any],
    output: str | Path,
) -> None:
    """Measure a compressed model and the dense one in turns, and write the record.

    Parameters
    ----------
    base, compressed
        Directories of the base model and of the compressed one.
    requests
        From what figures call a benchmark to its tokenized requests.
    settings
        See `measure`.
    output
        The record (JSON).

    Raises
    ------
    LowrankError
        If the model cannot be loaded, or not even one row fits into memory.
    """
    device, dtype = settings["device"], settings["dtype"]
    lengths = {label: request_lengths(path) for label, path in requests.items()}
    manifest = read_manifest(compressed)
    record = measure(
        lambda: load_compressed(base, compressed, dtype, device)[0],
        lambda: load_base(base, dtype, device),
        lengths,
        settings,
    )
    facts = {"base_files": manifest["base"], "factors_sha256": manifest["factors_sha256"]}
    write_json(
        output,
        {
            "model": manifest["model"],
            "decomposition": manifest["decomposition"]["name"],
            "parameter_reduction_percent": manifest["parameter_reduction_percent"],
            **record,
            "provenance": record["provenance"] | facts,
        },
    )


def measure(
    load_ours: Callable[[], PreTrainedModel],
    load_dense: Callable[[], PreTrainedModel],
    lengths: Mapping[str, Sequence[int]],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Measure latency, energy and memory of a model beside the dense one, in one process.

    Parameters
    ----------
    load_ours, load_dense
        Put the model, and the dense one, on the device. The first is alone there while its memory
        is measured.
    lengths
        From a benchmark's name to the tokens of each of its requests.
    settings
        `dtype`, `device`, `seed`, `workloads`, `rows`, `batch`, `trials`, `seconds`, `warm_up`,
        `largest_batch` (config/schemas/config.schema.yaml).

    Returns
    -------
    Raw trials, medians, paired ratios with intervals, memory, the surroundings before and after,
    what casts doubt on the measurement, and provenance.

    Raises
    ------
    LowrankError
        If there is no GPU where one is asked for, or not even one row fits into memory.
    """
    device = settings["device"]
    uuids = _uuids(device)
    meter = energy_meter(device, uuids=uuids)
    before = _state(device, uuids)
    idle_watts = meter.idle_watts(max(settings["seconds"], 1.0))
    batch = settings["batch"]
    if batch == "auto":
        batch = _batch(load_dense(), settings)
        _release(device)
    workloads = [fixed(entry, entry["batch"] or batch) for entry in settings["workloads"]]
    workloads += [
        of_benchmark(label, of_label, settings["rows"]) for label, of_label in lengths.items()
    ]
    ours = load_ours()
    memory = {
        workload.name: measure_memory(ours, make_work(ours, workload, settings["seed"]))
        for workload in workloads
    }
    models = {OURS: ours, DENSE: load_dense()}
    measured = [
        _measure(models, workload, meter, idle_watts, settings) | {"memory": memory[workload.name]}
        for workload in tqdm(workloads, desc="Workloads", leave=False)
    ]
    after = _state(device, uuids)
    return {
        "settings": dict(settings),
        "workloads": measured,
        "energy_meter": {"source": meter.source, "reason": meter.reason},
        "idle_watts": idle_watts,
        "surroundings": {"before": before, "after": after},
        "doubts": environment.doubts(before, after),
        "provenance": provenance(
            device, seed=settings["seed"], torch_threads=torch.get_num_threads()
        ),
    }


def _measure(
    models: Mapping[str, Any],
    workload: Workload,
    meter: EnergyMeter,
    idle_watts: float | None,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    works = {name: make_work(model, workload, settings["seed"]) for name, model in models.items()}
    trials = compare(
        {name: work.run for name, work in works.items()},
        cuda_timer if settings["device"] == "cuda" else cpu_timer,
        meter,
        settings["trials"],
        settings["seconds"],
        settings["seed"],
        settings["warm_up"],
    )
    return {
        **workload.record(),
        "latency": _figures(trials, "seconds"),
        "energy": _figures(trials, "joules") | _shares(trials, workload, idle_watts),
        "trials": [trial.record() for trial in trials],
    }


def _figures(trials: Sequence[Trial], value: str) -> dict[str, Any]:
    return {
        OURS: summarise(trials, OURS, value),
        DENSE: summarise(trials, DENSE, value),
        "ratio": paired_ratio(trials, OURS, DENSE, value),
    }


def _shares(
    trials: Sequence[Trial], workload: Workload, idle_watts: float | None
) -> dict[str, Any]:
    """Return joules by token and by row, with and without what the idle device would have used."""
    made = {}
    for name in (OURS, DENSE):
        energy, seconds = summarise(trials, name, "joules"), summarise(trials, name, "seconds")
        if energy is None or seconds is None:
            made[f"{name}_shares"] = None
            continue
        gross = energy["median"]
        net = None if idle_watts is None else gross - idle_watts * seconds["median"]
        made[f"{name}_shares"] = {
            "watts": gross / seconds["median"],
            "joules_per_token": gross / workload.tokens,
            "joules_per_question": gross / workload.batch,
            "net_joules": net,
            "net_joules_per_token": None if net is None else net / workload.tokens,
        }
    return made


def _batch(dense: Any, settings: Mapping[str, Any]) -> int:
    """Return the largest batch of the largest fixed workload that the dense model runs."""
    entry = max(settings["workloads"], key=lambda one: one["prompt"] + one["new_tokens"])

    def fits(rows: int) -> bool:
        try:
            make_work(dense, fixed(entry, rows), settings["seed"]).run()
        except torch.OutOfMemoryError:
            fitted = False
        else:
            fitted = True
        # Outside of the handler, which keeps the tensors of the failed pass alive.
        _release(settings["device"])
        return fitted

    # Two models are in memory while they are compared: half of what fits beside one.
    return max(1, largest_batch(fits, settings["largest_batch"]) // 2)


def _release(device: str) -> None:
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


def _uuids(device: str) -> list[str]:
    """Return the UUIDs of the GPUs that this process may use, as NVML writes them."""
    if device == "cpu":
        return []
    if not torch.cuda.is_available():
        raise LowrankError("no NVIDIA GPU can be used here; run with `device: cpu`")
    return [
        f"GPU-{torch.cuda.get_device_properties(index).uuid}"
        for index in range(torch.cuda.device_count())
    ]


def _state(device: str, uuids: Sequence[str]) -> Any:
    if device == "cpu":
        return environment.cpu_state()
    import pynvml

    try:
        pynvml.nvmlInit()
        return environment.gpu_state(pynvml, uuids)
    except pynvml.NVMLError as error:
        empty = {"throttled": [], "other_processes": [], "reason": str(error)}
        return [{"uuid": uuid} | empty for uuid in uuids]
