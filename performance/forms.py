"""What factor pairs and the pivoted form cost in time, beside the dense model, in one run.

All layers are factored at equal budgets and at LoRD's cut of the ranks, with random weights of a
large model's shapes. It prints the latency of the dense model, and the ratio of each form to it
with its interval, paired within rounds. On a GPU an iteration is
one graph of kernels::

    PYTHONPATH=workflow python performance/forms.py --device cuda --layers 8
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from lowrank.base.files import read_yaml
from lowrank.base.names import DENSE
from lowrank.base.provenance import device_name
from lowrank.profile.energy import EnergyMeter
from lowrank.profile.gpu_reference import decomposed, random_model
from lowrank.profile.iteration import make_work
from lowrank.profile.kernels import captured, kernel_seconds
from lowrank.profile.rounds import compare, cpu_timer, cuda_timer, paired_ratio, summarise
from lowrank.profile.workloads import fixed
from lowrank.project.studies import Model
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition

RULES = {
    "rank of 20% off as pairs": "b0.8",
    "rank of 20% off if pivoted": "p0.8",
    "39.58% of ranks off": "f0.6042",
}
WORKLOADS = (
    {"phase": "prefill", "prompt": 512, "new_tokens": 0, "batch": 16},
    {"phase": "prefill", "prompt": 512, "new_tokens": 0, "batch": 1},
    {"phase": "decode", "prompt": 512, "new_tokens": 16, "batch": 1},
    {"phase": "decode", "prompt": 512, "new_tokens": 16, "batch": 16},
)


def main() -> None:
    """Print a line a workload and form."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="config/models/llama-2-7b-random.yaml", type=Path)
    parser.add_argument("--layers", type=int, default=8, help="of the model's layers")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--seconds", type=float, default=0.2, help="of a pass")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    on_gpu = arguments.device.startswith("cuda")
    entry = read_yaml(arguments.model)
    fields = entry["architecture"] | {"num_hidden_layers": arguments.layers}
    architecture = Architecture.from_config(fields)
    model = Model(arguments.model.stem, entry["label"], entry["sources"], architecture)
    settings = {"seed": 0, "dtype": arguments.dtype}
    dense = random_model(model, settings, arguments.device)
    models = {DENSE: dense}
    for label, rule in RULES.items():
        for form in ("pairs", "pivoted"):
            name = f"svd-{rule}-l1-{arguments.layers}-all"
            name += "" if form == "pairs" else f"-{form}"
            made = Decomposition.from_name(architecture, name)
            models[f"{label}, {form}"] = decomposed(dense, model, made, 0)
    where = device_name("cuda" if on_gpu else "cpu")
    print(f"{entry['label']}, {arguments.layers} layers, {arguments.dtype}, {where}", flush=True)
    table = []
    for number in WORKLOADS:
        workload = fixed(number, number["batch"])
        works = {name: make_work(one, workload, 0).run for name, one in models.items()}
        if on_gpu:
            works = {name: captured(work) for name, work in works.items()}
        timer = cuda_timer if on_gpu else cpu_timer
        trials = compare(
            works, timer, EnergyMeter(), arguments.rounds, arguments.seconds, 0, most_warm_up=5
        )
        for name, one in models.items():
            seconds = summarise(trials, name, "seconds")
            ratio = paired_ratio(trials, name, DENSE, "seconds")
            assert seconds and ratio
            low, high = ratio["interval_95"]
            busy = kernel_seconds(works[name]) / seconds["median"] if on_gpu else None
            parameters = sum(value.numel() for value in one.parameters())
            row = {"workload": workload.name, "form": name, "parameters": parameters}
            row |= {"seconds": seconds["median"], "ratio": ratio, "kernels_share": busy}
            table.append(row)
            said = "" if busy is None else f"  kernels {busy:.0%} of the time"
            print(
                f"{workload.name:<28} {name:<32} {seconds['median'] * 1e3:9.2f} ms  "
                f"{ratio['value']:.3f} [{low:.3f}, {high:.3f}]{said}",
                flush=True,
            )
    if arguments.json:
        record = {"device": where, "torch": torch.__version__, "rows": table}
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
