"""What quantizing takes and gives: bytes, seconds, the error of weights, the time of a pass.

It asks for the dense model and for factor pairs, each in every quantization of
`config/quantizations/`. With a folder of weights these are real, and the pairs are a truncated
singular value decomposition of them. Without one they are random, which serves for bytes and time.
The latency is a ratio to the same model unquantized, paired within rounds, with its 95% interval::

    PYTHONPATH=workflow python performance/quantizing.py --layers 4 --threads 1
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from lowrank.base import cli
from lowrank.base.files import read_yaml, write_json
from lowrank.base.provenance import provenance
from lowrank.decompose.linear import LowRankLinear
from lowrank.decompose.loading import load_base
from lowrank.profile.energy import EnergyMeter
from lowrank.profile.gpu_reference import random_model
from lowrank.profile.iteration import make_work
from lowrank.profile.rounds import compare, cpu_timer, cuda_timer, paired_ratio
from lowrank.profile.workloads import fixed
from lowrank.project.registry import Registry
from lowrank.project.studies import Model
from lowrank.quantize.quantizing import quantize
from lowrank.quantize.sizes import weight_bytes
from lowrank.quantize.stored import bytes_of_model
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from torch import nn
from transformers import PreTrainedModel

WORKLOADS = (
    {"phase": "prefill", "prompt": 128, "new_tokens": 0, "batch": 1},
    {"phase": "decode", "prompt": 128, "new_tokens": 4, "batch": 1},
)
PLAIN = "unquantized"


def truncated(model: PreTrainedModel, architecture: Architecture, name: str) -> PreTrainedModel:
    """Put truncated singular value decompositions in a model's place of weights."""
    decomposition = Decomposition.from_name(architecture, name)
    for layer in decomposition.layers:
        for tensor in decomposition.tensors:
            path = architecture.module_path(layer, tensor)
            dense = model.get_submodule(path)
            assert isinstance(dense, nn.Linear)
            rank = decomposition.rank.rank_of(architecture, layer, tensor)
            left, scales, right = torch.linalg.svd(dense.weight.data.float(), full_matrices=False)
            pair = (left[:, :rank] * scales[:rank], right[:rank])
            bias = None if dense.bias is None else dense.bias.data
            made = LowRankLinear(*(factor.to(dense.weight.dtype) for factor in pair), bias)
            model.set_submodule(path, made)
    return model


def main() -> None:
    """Print a line a model and quantization."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="config/models/smollm2-135m-instruct.yaml", type=Path)
    parser.add_argument("--weights", type=Path, help="a folder; random weights without one")
    parser.add_argument("--layers", type=int, help="of the model's layers, of random weights")
    parser.add_argument("--rule", default="b0.8", help="ranks, as names of configurations say them")
    parser.add_argument("--quantizations", nargs="*", help="of config/quantizations/; all of them")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.2, help="of a pass")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    entry = read_yaml(arguments.model)
    fields = entry["architecture"]
    if arguments.layers is not None and arguments.weights is None:
        fields = fields | {"num_hidden_layers": arguments.layers}
    architecture = Architecture.from_config(fields)
    model = Model(arguments.model.stem, entry["label"], entry["sources"], architecture)
    name = f"svd-{arguments.rule}-l1-{architecture.layers}-all"
    registry = Registry("config")
    names = arguments.quantizations or sorted(
        path.stem for path in Path("config/quantizations").glob("*.yaml")
    )

    def load(kind: str) -> PreTrainedModel:
        if arguments.weights is not None:
            made = load_base(arguments.weights, arguments.dtype, arguments.device)
        else:
            made = random_model(model, {"seed": 0, "dtype": arguments.dtype}, arguments.device)
        return made if kind == "dense" else truncated(made, architecture, name)

    rows: list[dict[str, Any]] = []
    for kind in ("dense", name):
        models = {PLAIN: load(kind)}
        for quantization in names:
            models[quantization] = load(kind)
            made = quantize(models[quantization], registry.entry("quantization", quantization))
            size = bytes_of_model(made["facts"], architecture.parameters(), models[quantization])
            rows.append({"model": kind, "quantization": quantization, **made["facts"]})
            rows[-1] |= {"sizes": size, "memory_before": weight_bytes(models[PLAIN])}
            print(describe(rows[-1]), flush=True)
        for number in WORKLOADS:
            workload = fixed(number, number["batch"])
            works = {key: make_work(one, workload, 0).run for key, one in models.items()}
            timer = cuda_timer if arguments.device.startswith("cuda") else cpu_timer
            trials = compare(
                works, timer, EnergyMeter(), arguments.rounds, arguments.seconds, 0, most_warm_up=3
            )
            for row in rows[-len(names) :]:
                ratio = paired_ratio(trials, row["quantization"], PLAIN, "seconds")
                assert ratio
                row[workload.name] = ratio
                low, high = ratio["interval_95"]
                said = f"{kind:<22}{row['quantization']:<14}{workload.name:<26}"
                print(f"{said}time {ratio['value']:.2f} [{low:.2f}, {high:.2f}]", flush=True)
    if arguments.json:
        where = provenance(arguments.device, threads=arguments.threads, dtype=arguments.dtype)
        write_json(arguments.json, {"rows": rows, "provenance": where})


def describe(row: dict[str, Any]) -> str:
    """Return what a line says of bytes, seconds and error."""
    size, mega = row["sizes"], 1e6
    whole = "/".join(f"{size['model'][bits] / mega:.1f}" for bits in ("16", "32"))
    before = "/".join(f"{size['unquantized'][bits] / mega:.1f}" for bits in ("16", "32"))
    memory = f"{size['memory'] / mega:.1f} of {row['memory_before'] / mega:.1f}"
    return (
        f"{row['model']:<22}{row['quantization']:<14}{row['bits_per_number']:.2f} bits  "
        f"model {whole} of {before} MB (rest in 16/32 bits)  memory {memory} MB  "
        f"error {row['relative_error']:.4f}  {row['seconds']:.1f} s"
        + ("  fake" if row["fake"] else "")
    )


if __name__ == "__main__":
    cli.run(main)
