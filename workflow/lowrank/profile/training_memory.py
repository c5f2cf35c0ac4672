"""Memory of one step of training adapters: forward, backward, optimizer.

On a GPU the allocator says it. On a CPU it is how far the resident set of a process rises, on top
of the bytes of the model's tensors; each case has a process of its own. What is kept for the
backward pass is counted as well, which no other process disturbs.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, write_json
from lowrank.base.names import DENSE
from lowrank.base.provenance import provenance
from lowrank.decompose.compressed_format import MANIFEST
from lowrank.decompose.loading import load_base, load_compressed
from lowrank.profile.adapting import BOTH, with_adapters
from lowrank.profile.memory import release, resident_bytes
from lowrank.profile.rounds import OURS, paired_ratio, summarise
from lowrank.quantize.sizes import tensor_bytes

Build = Callable[[], PreTrainedModel]
"""Loads a model on its device; a function of a module, or a `functools.partial` of one."""

ALLOCATOR, RESIDENT = "allocator", "resident set"


@dataclass(frozen=True)
class Step:
    """What a step trains on.

    Attributes
    ----------
    batch, length
        Sequences, and tokens of each.
    rank
        Of the adapters.
    seed
        Of the tokens and the adapters.
    checkpointing
        Whether a layer keeps its inputs only, and computes the rest again.
    factors
        Which layers of a product of factors get an adapter: `both`, `left` or `right`.
    """

    batch: int
    length: int
    rank: int = 8
    seed: int = 0
    checkpointing: bool = False
    factors: str = BOTH


def measure_step(build: Build, entry: Mapping[str, Any] | None, step: Step) -> dict[str, Any]:
    """Run one step in this process, and say what it took.

    Parameters
    ----------
    build
        Loads the model, which is then changed.
    entry
        As for `lowrank.profile.adapting.with_adapters`.
    step
        The step.

    Returns
    -------
    All in bytes. Counted: `frozen`, weights and buffers that are not trained; `adapters`;
    `gradients`; `optimizer`, AdamW's two moments; `activations`, what else is kept for the backward
    pass at its most. Measured: `rise`, from before the step to its peak; None where the system does
    not say. `peak` is `rise` and what was there before: on a GPU by the allocator, on a CPU the
    bytes of the model's tensors. `measured_by` says which. `loss` is that of the step.

    Raises
    ------
    LowrankError
        If the loss or a gradient is not finite.
    """
    model = with_adapters(build(), entry, step.rank, step.seed, step.factors)
    if step.checkpointing:
        model.enable_input_require_grads()
        model.activation_checkpointing_enable({"use_reentrant": False})
    device = next(model.parameters()).device
    on_gpu = device.type == "cuda"
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    generator = torch.Generator().manual_seed(step.seed)
    vocabulary = model.config.vocab_size
    tokens_BT = torch.randint(0, vocabulary, (step.batch, step.length), generator=generator)
    tokens_BT = tokens_BT.to(device)
    # What libraries load at their first use is no part of a step.
    _loss(model, tokens_BT[:1, :2]).backward()
    optimizer.zero_grad()
    untrained = (parameter for parameter in model.parameters() if not parameter.requires_grad)
    frozen, adapters = tensor_bytes((*untrained, *model.buffers())), tensor_bytes(trained)
    before = _start(device)
    with counted_activations(model) as activations:
        loss = _loss(model, tokens_BT)
    loss.backward()
    optimizer.step()
    peak = _peak(device)
    gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
    if not all(torch.isfinite(value).all() for value in (loss, *gradients)):
        raise LowrankError("the loss of a step or its gradient is not finite: use other weights")
    rise = None if peak is None or before is None else max(0, peak - before)
    there = before if on_gpu else frozen + adapters
    states = (value for state in optimizer.state.values() for value in state.values())
    return {
        "frozen": frozen,
        "adapters": adapters,
        "gradients": tensor_bytes(gradients),
        "optimizer": tensor_bytes(value for value in states if value.dim()),
        "activations": activations[0],
        "rise": rise,
        "peak": None if rise is None or there is None else there + rise,
        "measured_by": ALLOCATOR if on_gpu else RESIDENT,
        "loss": loss.item(),
    }


@contextmanager
def counted_activations(model: nn.Module) -> Iterator[list[int]]:
    """Count what is kept for the backward pass, for the block; yield a list of the bytes.

    What several operations keep counts once, and the model's own tensors do not count.
    """
    own = {
        tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())
    }
    kept: dict[int, int] = {}
    total = [0]

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield total
    total[0] = sum(kept.values())


def measure_cases(
    cases: Mapping[str, tuple[Build, Mapping[str, Any] | None]],
    step: Step,
    device: str,
    **facts: Any,
) -> dict[str, Any]:
    """Measure a step of each case, one after another, each in a process of its own.

    Parameters
    ----------
    cases
        From a name to what loads its model, and to its quantization. The first is what others are
        compared with.
    step
        The step.
    device
        Where `build` puts models, for the record.
    **facts
        What else shaped the result.

    Returns
    -------
    `step`; `cases`, what `measure_step` returns for each, with `ratio`, its peak over that of the
    first; and the provenance.
    """
    made: dict[str, dict[str, Any]] = {}
    for name, (build, entry) in cases.items():
        made[name] = in_child(measure_step, build, entry, step)
    first = next(iter(made.values()))["peak"]
    for record in made.values():
        record["ratio"] = record["peak"] / first if record["peak"] and first else None
    return {
        "step": asdict(step),
        "cases": made,
        "provenance": provenance(device, threads=torch.get_num_threads(), **facts),
    }


@dataclass(frozen=True)
class Peak:
    """What a step took at its most.

    Attributes
    ----------
    name, round
        Over which model, and in which round.
    bytes
        How much; None where the system does not say.
    """

    name: str
    round: int
    bytes: int | None


def profile_training(
    weights: str | Path, compressed: str | Path, settings: Mapping[str, Any], output: str | Path
) -> None:
    """Measure a step of QLoRA over a compressed model and over the dense one, and write the record.

    Each step has a process of its own, the two models in turn.

    Parameters
    ----------
    weights, compressed
        Directories of the base model and of the compressed one.
    settings
        `dtype`, `device`, `seed`; `quantization`, the name of an entry, and `entry`; `rounds`; and
        `batch`, `length`, `rank`, `checkpointing` of the step.
    output
        The record (JSON).

    Raises
    ------
    LowrankError
        If a model cannot be loaded, quantized or trained.
    """
    manifest = read_json(Path(compressed) / MANIFEST)
    keys = ("batch", "length", "rank", "seed", "checkpointing")
    step = Step(**{key: settings[key] for key in keys})
    dtype, device = settings["dtype"], settings["device"]
    builds = {
        OURS: partial(_compressed, weights, compressed, dtype, device),
        DENSE: partial(load_base, weights, dtype, device),
    }
    found: list[tuple[Peak, dict[str, Any]]] = []
    for number in range(settings["rounds"]):
        for name, build in builds.items():
            made = in_child(measure_step, build, settings["entry"], step)
            found.append((Peak(name, number, made["peak"]), made))
    peaks = [peak for peak, _ in found]
    measured_by = found[0][1]["measured_by"]
    size = f"{step.batch} × {step.length} tokens"
    write_json(
        output,
        {
            "model": manifest["model"],
            "decomposition": manifest["decomposition"]["name"],
            "parameter_reduction_percent": manifest["parameter_reduction_percent"],
            "gpus": 1 if device == "cuda" else 0,
            "training": {
                "workload": f"QLoRA ({settings['quantization']}), {size}, by the {measured_by}",
                "step": asdict(step),
                "measured_by": measured_by,
                "peak": {
                    OURS: summarise(peaks, OURS, "bytes"),
                    DENSE: summarise(peaks, DENSE, "bytes"),
                    "ratio": paired_ratio(peaks, OURS, DENSE, "bytes"),
                },
                "steps": [{"name": peak.name, "round": peak.round, **made} for peak, made in found],
            },
            "provenance": provenance(
                device,
                seed=step.seed,
                torch_threads=torch.get_num_threads(),
                base_files=manifest["base"],
                factors_sha256=manifest["factors_sha256"],
            ),
        },
    )


def _compressed(
    base: str | Path, compressed: str | Path, dtype: str, device: str
) -> PreTrainedModel:
    return load_compressed(base, compressed, dtype, device)[0]


SETTINGS_OF_CHILD = {
    # What is freed goes back to the system at once, and is not counted as already there.
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_ARENA_MAX": "1",
}


def in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function of a module returns in a new process; its errors are raised here."""
    before = {name: os.environ.get(name) for name in SETTINGS_OF_CHILD}
    os.environ |= SETTINGS_OF_CHILD
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            threads = torch.get_num_threads()
            pool.submit(torch.set_num_threads, threads).result()
            return pool.submit(function, *arguments).result()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _loss(model: nn.Module, tokens_BT: Tensor) -> Tensor:
    return model(input_ids=tokens_BT, labels=tokens_BT, use_cache=False).loss


def _start(device: torch.device) -> int | None:
    """Return what is in use, and let its peak count from now on."""
    gc.collect()
    if device.type == "cuda":
        release(str(device))
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except (OSError, AttributeError):  # another system, or another C library
        return None
    return resident_bytes()


def _peak(device: torch.device) -> int | None:
    """Return the most that was in use since `_start`."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device)
    return resident_bytes("VmHWM")
