"""What it costs to ask a few questions at a time, so that answers are the same whenever asked.

The same questions are asked in blocks of several sizes, taking turns in one run. It prints the CPU
time of one thread for each size, its ratio to that of all questions at once, and the largest
difference of a log-likelihood. It takes what `make reproduce` leaves below `results/`::

    PYTHONPATH=workflow python performance/blocks.py
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from lowrank.decompose.loading import load_base, load_tokenizer
from lowrank.evaluate.packed.lm import PackedLM
from lowrank.evaluate.requests import read_requests

BENCHMARKS = ("arc_easy", "arc_challenge", "hellaswag", "winogrande", "mmlu")


def asked(requests: Path, benchmark: str, questions: int) -> list[tuple[int, tuple]]:
    """Return the first questions of a run's largest file of requests, each with its place."""
    files = requests.glob(f"{benchmark}.*.parquet")
    plain = [path for path in files if "questions" not in path.name]
    largest = max(plain, key=lambda path: path.stat().st_size)
    return [
        (row["place"], (None, row["context_ids"], row["continuation_ids"]))
        for row in read_requests(largest)
        if row["place"] < questions
    ]


def ask(
    language_model: PackedLM, rows: list[tuple[int, tuple]], size: int
) -> tuple[float, list[float]]:
    """Return the CPU seconds that blocks of a size take, and the log-likelihoods."""
    blocks: dict[int, list[int]] = {}
    for number, (place, _) in enumerate(rows):
        blocks.setdefault(place // size, []).append(number)
    found, begin = [0.0] * len(rows), time.process_time()
    for numbers in blocks.values():
        answers = language_model._loglikelihood_tokens(
            [rows[number][1] for number in numbers], disable_tqdm=True
        )
        for number, (value, _) in zip(numbers, answers, strict=True):
            found[number] = value
    return time.process_time() - begin, found


def main() -> None:
    """Print the times of all sizes of blocks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="results/models/smollm2-135m-instruct", type=Path)
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 8, 4, 2, 1])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    weights = arguments.model / "weights"
    language_model = PackedLM(load_base(weights, "float32"), load_tokenizer(weights))
    sizes = [arguments.questions, *arguments.sizes]
    print("CPU seconds of one thread, and their ratio to all at once")
    print(f"{'':<14}", *(f"{size:>12}" for size in sizes), "  largest difference")
    for benchmark in BENCHMARKS:
        rows = asked(arguments.model / "requests", benchmark, arguments.questions)
        seconds: dict[int, list[float]] = {size: [] for size in sizes}
        values: dict[int, list[float]] = {}
        for _ in range(arguments.repeats):
            for size in sizes:
                took, values[size] = ask(language_model, rows, size)
                seconds[size].append(took)
        medians = {size: statistics.median(own) for size, own in seconds.items()}
        cells = (f"{m:>6.2f} {m / medians[sizes[0]]:>5.2f}" for m in medians.values())
        differences = (
            abs(one - other)
            for own in values.values()
            for one, other in zip(own, values[sizes[0]], strict=True)
        )
        print(f"{benchmark:<14}", *cells, f"  {max(differences):.0e}", flush=True)


if __name__ == "__main__":
    main()
