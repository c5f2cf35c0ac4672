"""What compressing a large model takes: one layer of its shapes is measured, the rest is counted.

Weights are random; nothing here depends on their values. It prints the seconds of walking a layer
over a calibration set, of factorizing it by each method and of walking and factorizing it behind
compressed modules, and the same for the whole model. Each is measured in a process of its own, so
that each has its own peak of memory::

    PYTHONPATH=workflow python performance/compressing.py --samples 4
    PYTHONPATH=workflow python performance/compressing.py --samples 4 --device cuda
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lowrank.base.files import read_yaml
from lowrank.base.provenance import device_name
from lowrank.decompose.layer_factors import factorize_layer
from lowrank.decompose.moments import moments_file
from lowrank.decompose.sequential import sequential_cuts
from lowrank.decompose.walk import gather_moments
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from lowrank.space.methods import METHODS
from lowrank.space.rank_rule import BreakEvenShare
from transformers import AutoConfig, AutoModelForCausalLM

VOCABULARY = 1024
"""Tokens of the stand-in: an embedding takes no part in what is measured."""

SHARE = 0.6
"""Of the break-even rank: what LLM-ROM keeps of a module at its budget of 90%."""


def save_layers(folder: Path, config: dict[str, Any]) -> None:
    """Write a model of few layers with random weights."""
    fields = dict(config)
    made = AutoConfig.for_model(fields.pop("model_type"), **fields)
    AutoModelForCausalLM.from_config(made, dtype=torch.float32).save_pretrained(folder)


def seconds_of(action: Callable[..., Any], *arguments: Any) -> float:
    """Return the seconds that a function takes; what it computes on a GPU it has copied back."""
    begin = time.monotonic()
    action(*arguments)
    return time.monotonic() - begin


def sequential_seconds(
    config: dict[str, Any], method: str, weights: Path, tokens_ST: np.ndarray, device: str
) -> float:
    """Return the seconds of a layer behind compressed modules.

    From the last module of the first of two layers to the last one of the second: the first layer
    is advanced through as it is compressed, and the second is loaded, walked and factorized.
    """
    two = Architecture.from_config(config)
    rule = BreakEvenShare.make(SHARE)
    decomposition = Decomposition.make(two, [1, 2], "all", rule, method, "random")
    ends = {}
    for cut in sequential_cuts(two, decomposition, weights, tokens_ST, "float32", device):
        ends[cut.layer] = time.monotonic()
    return ends[2] - ends[1]


def measured(
    threads: int | None, device: str, action: Callable[..., Any], *arguments: Any
) -> dict[str, float]:
    """Return the seconds that a function says, and this process's peaks of memory, in gigabytes."""
    if threads is not None:
        torch.set_num_threads(threads)
    seconds = action(*arguments)
    peaks = {"memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}
    if device != "cpu":
        peaks["GPU memory"] = torch.cuda.max_memory_allocated(device) / 1e9
    return {"seconds": seconds, **peaks}


def main() -> None:
    """Print what a walk and each method take."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="config/models/llama-2-7b-random.yaml")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, help="of torch; by default as many as it chooses")
    methods = ["svd", "asvd", "svd_llm", "lord", "rom"]
    # Gradients come from the loss, which is of no layer.
    known = [
        name
        for name, own in METHODS.items()
        if own.scope != "layer" and own.inputs != "gradients" and not own.factors_of
    ]
    parser.add_argument("--methods", nargs="+", choices=known, default=methods)
    arguments = parser.parse_args()
    device, threads = arguments.device, arguments.threads
    config = read_yaml(arguments.model)["architecture"]
    layers = config["num_hidden_layers"]
    config = {**config, "num_hidden_layers": 1, "vocab_size": VOCABULARY}
    one, two = Architecture.from_config(config), {**config, "num_hidden_layers": 2}
    shape = arguments.samples, arguments.length
    tokens_ST = np.random.default_rng(0).integers(0, VOCABULARY, shape, dtype=np.int32)
    print(f"{device_name(device)}, {platform.platform()}", flush=True)
    print(f"threads of torch: {threads or torch.get_num_threads()}", flush=True)
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as temporary,
        ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool,
    ):
        folder = Path(temporary)
        weights, moments, pair = folder / "weights", folder / "moments", folder / "two"

        def report(what: str, action: Callable[..., Any], *given: Any) -> None:
            made = pool.submit(measured, threads, device, action, *given).result()
            print_line(what, made, layers)

        pool.submit(save_layers, weights, config).result()
        walk = f"walk over {tokens_ST.size:,} tokens"
        given = weights, one, tokens_ST, moments, "float32", device
        report(walk, seconds_of, gather_moments, *given)
        for method in arguments.methods:
            if METHODS[method].inputs == "compressed":
                if not pair.exists():
                    pool.submit(save_layers, pair, two).result()
                what = f"{walk} and factors by {method}, behind compressed modules"
                report(what, sequential_seconds, two, method, pair, tokens_ST, device)
            else:
                rank = max(map(one.rank, one.tensors))
                output = folder / f"{method}.safetensors"
                given = weights, one, 1, rank, method, output, device, moments / moments_file(1)
                report(f"factors by {method}", seconds_of, factorize_layer, *given)


def print_line(what: str, made: dict[str, float], layers: int) -> None:
    """Print the seconds of a layer and of all layers, and the peaks of memory."""
    seconds = made.pop("seconds")
    peaks = ", ".join(f"peak of {name} {size:.1f} GB" for name, size in made.items())
    print(
        f"{what}: {seconds:.1f} s a layer, {seconds * layers / 60:.0f} min for {layers} layers; "
        f"{peaks}",
        flush=True,
    )


if __name__ == "__main__":
    main()
