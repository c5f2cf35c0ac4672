"""What a step of LoRA and of QLoRA takes in memory, over a dense and over a low-rank model.

Four cases: adapters over the dense model and over factor pairs, each in floating point and
quantized. With a folder of weights the dense model is real. The factors are random: memory depends
on their shapes alone. Each case has a process of its own::

    PYTHONPATH=workflow python performance/training_memory.py --batch 1 --length 128 --threads 1
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch
from lowrank.base import cli
from lowrank.base.files import read_yaml, write_json
from lowrank.decompose.loading import load_base, load_compressed
from lowrank.profile.gpu_reference import decomposed, random_model
from lowrank.profile.training_memory import Step, measure_cases
from lowrank.project.registry import Registry
from lowrank.project.studies import Model
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from transformers import PreTrainedModel


def model_of(path: Path, layers: int | None) -> Model:
    """Return a model of `config/models/`, perhaps with fewer layers."""
    entry = read_yaml(path)
    fields = entry["architecture"] | ({} if layers is None else {"num_hidden_layers": layers})
    architecture = Architecture.from_config(fields)
    return Model(path.stem, entry["label"], entry["sources"], architecture)


def dense(model: Model, weights: Path | None, dtype: str, device: str) -> PreTrainedModel:
    """Return the dense model, of random weights unless there are some."""
    if weights is not None:
        return load_base(weights, dtype, device)
    return random_model(model, {"seed": 0, "dtype": dtype}, device)


def low_rank(
    model: Model, weights: Path | None, dtype: str, device: str, compressed: Path | None, rule: str
) -> PreTrainedModel:
    """Return a compressed model, or one of random factors by a rule of ranks."""
    if compressed is not None:
        assert weights is not None
        return load_compressed(weights, compressed, dtype, device)[0]
    name = f"svd-{rule}-l1-{model.architecture.layers}-all"
    decomposition = Decomposition.from_name(model.architecture, name)
    return decomposed(dense(model, weights, dtype, device), model, decomposition, 0)


def main() -> None:
    """Print a line a case."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--model", default="config/models/smollm2-135m-instruct.yaml", type=Path, help="its shapes"
    )
    parser.add_argument("--weights", type=Path, help="a folder; random weights without one")
    parser.add_argument("--compressed", type=Path, help="a folder; random factors without one")
    parser.add_argument("--layers", type=int, help="of the model's layers")
    parser.add_argument("--rule", default="b0.8", help="ranks, as names of configurations say them")
    parser.add_argument("--quantization", default="nf4", help="of config/quantizations/")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--length", type=int, default=128, help="tokens of a sequence")
    parser.add_argument("--rank", type=int, default=8, help="of the adapters")
    parser.add_argument("--factors", default="both", choices=("both", "left", "right"))
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = model_of(arguments.model, arguments.layers)
    entry = Registry("config").entry("quantization", arguments.quantization)
    shared = (model, arguments.weights, arguments.dtype, arguments.device)
    of_dense = partial(dense, *shared)
    of_pairs = partial(low_rank, *shared, arguments.compressed, arguments.rule)
    cases = {
        "dense, LoRA": (of_dense, None),
        "dense, QLoRA": (of_dense, entry),
        "low-rank, LoRA": (of_pairs, None),
        "low-rank, QLoRA": (of_pairs, entry),
    }
    step = Step(
        arguments.batch,
        arguments.length,
        arguments.rank,
        checkpointing=arguments.checkpointing,
        factors=arguments.factors,
    )
    facts = {key: str(value) for key, value in vars(arguments).items() if key != "json"}
    record = measure_cases(cases, step, arguments.device, settings=facts)
    where = record["provenance"]["device_name"]
    print(f"{model.label}, {arguments.dtype}, {arguments.batch} × {arguments.length}, {where}")
    columns = ("frozen", "adapters", "gradients", "optimizer", "activations", "rise", "peak")
    print(f"{'MB':<16}" + "".join(f"{column:>12}" for column in columns) + f"{'ratio':>8}")
    for name, row in record["cases"].items():
        sizes = ("?" if row[key] is None else f"{row[key] / 1e6:.1f}" for key in columns)
        ratio = "?" if row["ratio"] is None else f"{row['ratio']:.3f}"
        print(f"{name:<16}" + "".join(f"{size:>12}" for size in sizes) + f"{ratio:>8}")
    print(f"peak by the {next(iter(record['cases'].values()))['measured_by']}")
    if arguments.json:
        write_json(arguments.json, record)


if __name__ == "__main__":
    cli.run(main)
