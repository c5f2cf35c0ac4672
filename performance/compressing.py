"""What compressing a large model takes: one layer of its shapes is measured, the rest is counted.

Weights are random; nothing here depends on their values. It prints the seconds of walking a layer
over a calibration set and of factorizing it by each method, the peak of memory, and both for the
whole model::

    PYTHONPATH=workflow python performance/compressing.py --samples 4
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from lowrank.base.files import read_yaml
from lowrank.decompose.layer_factors import factorize_layer
from lowrank.decompose.moments import moments_file
from lowrank.decompose.walk import gather_moments
from lowrank.space.architecture import Architecture
from transformers import AutoConfig, AutoModelForCausalLM

VOCABULARY = 1024
"""Tokens of the stand-in: an embedding takes no part in what is measured."""


def save_layer(folder: Path, config: dict) -> None:
    """Write a model of one layer with random weights."""
    fields = dict(config)
    made = AutoConfig.for_model(fields.pop("model_type"), **fields)
    AutoModelForCausalLM.from_config(made, dtype=torch.float32).save_pretrained(folder)


def main() -> None:
    """Print what a walk and each method take."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="config/models/llama-2-7b-random.yaml")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--methods", nargs="+", default=["svd", "asvd", "svd_llm", "lord"])
    arguments = parser.parse_args()
    config = read_yaml(arguments.model)["architecture"]
    layers = config["num_hidden_layers"]
    config = {**config, "num_hidden_layers": 1, "vocab_size": VOCABULARY}
    one = Architecture.from_config(config)
    shape = arguments.samples, arguments.length
    tokens_ST = np.random.default_rng(0).integers(0, VOCABULARY, shape, dtype=np.int32)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_layer(folder / "weights", config)
        begin = time.monotonic()
        gather_moments(folder / "weights", one, tokens_ST, folder / "moments")
        report(f"walk over {tokens_ST.size:,} tokens", time.monotonic() - begin, layers)
        for method in arguments.methods:
            begin = time.monotonic()
            moments = folder / "moments" / moments_file(1)
            rank = max(map(one.rank, one.tensors))
            output = folder / f"{method}.safetensors"
            factorize_layer(folder / "weights", one, 1, rank, method, output, moments=moments)
            report(f"factors by {method}", time.monotonic() - begin, layers)


def report(what: str, seconds: float, layers: int) -> None:
    """Print the seconds of a layer and of all layers, and the peak of memory so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    whole = seconds * layers / 60
    print(
        f"{what}: {seconds:.1f} s a layer, {whole:.0f} min for {layers} layers; "
        f"peak of memory {peak:.1f} GB",
        flush=True,
    )


if __name__ == "__main__":
    main()
