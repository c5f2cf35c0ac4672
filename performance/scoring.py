"""Compare packed scoring with lm-eval's own `HFLM`, on the same questions and in one run.

For each benchmark and number type both score the same questions with the same weights and number
of threads, taking turns. On one thread of a CPU the time is CPU time, else wall time (on a GPU up
to synchronisation). `HFLM` gets its fastest batch size, found on all the questions: sizes are
tried from the smallest on, until two in a row are slower than the fastest.

Without arguments it takes what `make reproduce` leaves: the first model's weights and the
questions below `results/`::

    PYTHONPATH=workflow python performance/scoring.py

On a GPU, `--random-model` takes a model's shapes with random weights instead (the tokenizer, and
so the vocabulary, stays that of `--weights`)::

    PYTHONPATH=workflow python performance/scoring.py --device cuda --random-model llama-2-7b
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

import pyarrow.compute
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.huggingface import HFLM
from lowrank.assets.choice import SUBSET, read_questions
from lowrank.base.files import read_yaml
from lowrank.decompose.loading import load_base, load_tokenizer
from lowrank.evaluate.packed.lm import PackedLM
from lowrank.evaluate.requests import asked_questions
from lowrank.evaluate.tasks import load_tasks, run_tasks
from lowrank.project.studies import Model
from lowrank.space.architecture import Architecture
from transformers import PreTrainedModel

CONFIG = Path(__file__).parent.parent / "config"
SUBJECTS = ("astronomy", "econometrics", "philosophy", "virology")


@dataclass(frozen=True)
class Benchmark:
    """Questions and the tasks that ask them.

    Attributes
    ----------
    entry
        The file of `config/benchmarks` and of the questions.
    tasks
        lm-eval's tasks; all of the entry's if there are none here.
    subsets
        The subsets that are asked; all if there are none here.
    one_a_subset
        Whether one question of each subset is asked, whatever the limit.
    """

    entry: str
    tasks: tuple[str, ...] = ()
    subsets: tuple[str, ...] = ()
    one_a_subset: bool = False

    def load(self, folder: Path, settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return lm-eval's tasks over the questions, and the benchmark's entry."""
        entry = {"generation": False} | read_yaml(CONFIG / "benchmarks" / f"{self.entry}.yaml")
        entry["tasks"] = list(self.tasks) or entry["tasks"]
        table = read_questions(folder / f"{self.entry}.parquet")
        if self.subsets:
            wanted = pyarrow.compute.is_in(table[SUBSET], pyarrow.array(self.subsets))
            table = table.filter(wanted)
        limit = len(set(table[SUBSET].to_pylist())) if self.one_a_subset else settings["limit"]
        asked = asked_questions(table, settings | {"limit": limit})
        return load_tasks(asked, entry)[0], entry


BENCHMARKS = {
    "arc_easy": Benchmark("arc_easy"),
    "arc_challenge": Benchmark("arc_challenge"),
    "hellaswag": Benchmark("hellaswag"),
    "winogrande": Benchmark("winogrande"),
    "mmlu": Benchmark("mmlu", one_a_subset=True),
    "mmlu_4_subjects": Benchmark("mmlu", subsets=SUBJECTS),
    "truthfulqa_mc1": Benchmark("truthfulqa", tasks=("truthfulqa_mc1",)),
    "truthfulqa": Benchmark("truthfulqa"),
    "gsm8k": Benchmark("gsm8k"),
}


Task = tuple[Any, dict[str, Any], dict[str, Any]]
"""What `run_tasks` takes: lm-eval's tasks, the benchmark's entry and the settings."""


class Recorder(LM):
    """Passes requests on to a model and keeps the requests, the answers and the time taken.

    Parameters
    ----------
    inner : lm_eval.api.model.LM
        The model.
    clock : callable
        Returns seconds.
    """

    def __init__(self, inner: LM, clock: Callable[[], float]) -> None:
        super().__init__()
        self.inner, self._clock = inner, clock
        self.answers: list[Any] = []
        self.seconds = 0.0

    def _pass_on(self, kind: str, requests: list[Instance]) -> list[Any]:
        start = self._clock()
        answers = getattr(self.inner, kind)(requests, disable_tqdm=True)
        self.seconds += self._clock() - start
        self.answers += answers
        return answers

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Score continuations."""
        return self._pass_on("loglikelihood", requests)

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Score whole texts."""
        return self._pass_on("loglikelihood_rolling", requests)

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Generate texts."""
        return self._pass_on("generate_until", requests)


@dataclass
class Run:
    """One model on one benchmark.

    Attributes
    ----------
    seconds : list of float
        Time of each repetition.
    metrics : dict
        lm-eval's results by task.
    picks : list
        For each question the most likely choice, or the generated text.
    answers : list
        What the model returned for each request.
    """

    seconds: list[float] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    picks: list[Any] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)

    def add(self, lm: LM, task: Task, clock: Callable[[], float]) -> None:
        """Score the questions once more."""
        recorder = Recorder(lm, clock)
        output = run_tasks(recorder, *task)
        self.seconds.append(recorder.seconds)
        self.metrics = {
            task: {k: v for k, v in values.items() if isinstance(v, float) and "stderr" not in k}
            for task, values in output["results"].items()
        }
        self.answers = recorder.answers
        self.picks = []
        for task in sorted(output["samples"]):
            for sample in output["samples"][task]:
                responses = [response[0] for response in sample["resps"]]
                if isinstance(responses[0], str):
                    self.picks.append(responses)
                else:
                    values = [float(response[0]) for response in responses]
                    self.picks.append(values.index(max(values)))


def difference(left: list[Any], right: list[Any]) -> tuple[float, float]:
    """Largest and mean absolute difference of log-likelihoods; not a number for texts."""
    pairs = [(a[0], b[0]) for a, b in zip(left, right, strict=True) if not isinstance(a, str)]
    gaps = [abs(float(a) - float(b)) for a, b in pairs]
    return (max(gaps), statistics.fmean(gaps)) if gaps else (float("nan"), float("nan"))


def metric_gap(left: dict[str, dict[str, float]], right: dict[str, dict[str, float]]) -> float:
    """Largest absolute difference of a metric of lm-eval."""
    return max(
        abs(left[task][metric] - right[task][metric]) for task in left for metric in left[task]
    )


def best_batch_size(
    stock: HFLM, task: Task, sizes: Sequence[int], clock: Callable[[], float]
) -> tuple[int, float, Run]:
    """Find the fastest batch size of `HFLM`.

    Returns
    -------
    int, float, Run
        The batch size, the largest difference of a log-likelihood between batch sizes, and the
        run with the fastest one.
    """
    runs: dict[int, Run] = {}
    best = sizes[0]
    for size in sizes:
        stock.batch_size_per_gpu = size
        runs[size] = Run()
        runs[size].add(stock, task, clock)
        if runs[size].seconds[0] < runs[best].seconds[0]:
            best = size
        if len(runs) - list(runs).index(best) > 2:
            break
    answers = [run.answers for run in runs.values()]
    pairs = [(a, b) for k, a in enumerate(answers) for b in answers[:k]]
    spread = max((difference(a, b)[0] for a, b in pairs), default=float("nan"))
    stock.batch_size_per_gpu = best
    return best, spread, runs[best]


def load_model(arguments: argparse.Namespace, dtype: str, vocabulary: int) -> PreTrainedModel:
    """Return the model of the weights, or one of random weights."""
    if not arguments.random_model:
        return load_base(arguments.weights, dtype, arguments.device)
    from lowrank.profile.gpu_reference import random_model

    name = arguments.random_model
    entry = read_yaml(CONFIG / "models" / f"{name}.yaml")
    fields = entry["architecture"] | {"vocab_size": vocabulary}
    architecture = Architecture.from_config(fields)
    model = Model(name, entry["label"], entry["sources"], architecture)
    settings = {"dtype": dtype, "seed": 0}
    return random_model(model, settings, arguments.device)


def compare(
    packed: PackedLM,
    stock: HFLM,
    task: Task,
    arguments: argparse.Namespace,
    clock: Callable[[], float],
) -> tuple[dict[str, Any], Run, Run]:
    """Score one benchmark with both, taking turns; return the figures and both runs."""
    warm_up = [Instance("loglikelihood", {}, ("a b c", " d"), k) for k in range(2)]
    for lm in (stock, packed):
        lm.loglikelihood(warm_up, disable_tqdm=True)
    ours = Run()
    ours.add(packed, task, clock)
    size, spread, theirs = best_batch_size(stock, task, arguments.batch_sizes, clock)
    for _ in range(arguments.repeats - 1):
        ours.add(packed, task, clock)
        theirs.add(stock, task, clock)
    figures = {
        "questions": len(ours.picks),
        "stock_batch_size": size,
        "stock_seconds": theirs.seconds,
        "packed_seconds": ours.seconds,
        "ratio": statistics.median(theirs.seconds) / statistics.median(ours.seconds),
        "largest_difference": difference(ours.answers, theirs.answers)[0],
        "stock_spread": spread,
        "choices_changed": sum(a != b for a, b in zip(ours.picks, theirs.picks, strict=True)),
        "largest_metric_difference": metric_gap(ours.metrics, theirs.metrics),
        "stock_metrics": theirs.metrics,
        "packed_metrics": ours.metrics,
        "fallback": packed.fallback,
    }
    return figures, ours, theirs


def parse_arguments() -> argparse.Namespace:
    """Parse the command line; the defaults are what the workflow leaves."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    first = read_yaml(CONFIG / "laptop.yaml")["models"][0]
    weights = Path("results/models") / first / "weights"
    parser.add_argument("--weights", type=Path, default=weights, help="folder of the model")
    parser.add_argument("--random-model", metavar="NAME", help="an entry of config/models")
    parser.add_argument(
        "--questions", type=Path, default="results/benchmarks", help="folder of the questions"
    )
    parser.add_argument("--limit", type=int, default=40, help="questions in a benchmark")
    parser.add_argument("--generation-limit", type=int, default=4, help="questions in gsm8k")
    parser.add_argument("--new-tokens", type=int, default=64, help="most tokens generated in gsm8k")
    parser.add_argument("--benchmarks", nargs="+", choices=BENCHMARKS, metavar="NAME")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--batch-tokens", type=int, help="tokens in a pass of the packed model")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    if not arguments.benchmarks:
        arguments.benchmarks = [
            name
            for name, benchmark in BENCHMARKS.items()
            if (arguments.questions / f"{benchmark.entry}.parquet").is_file()
        ]
    if not arguments.benchmarks:
        parser.error(f"no questions in {arguments.questions}: run `make reproduce` first")
    return arguments


def main() -> None:
    """Run the comparison and print the table."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)

    def clock() -> float:
        if arguments.device.startswith("cuda"):
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time() if arguments.threads == 1 else time.perf_counter()

    tokenizer = load_tokenizer(arguments.weights)
    print(
        f"{'benchmark':<15} {'dtype':<9} {'quest.':>6} {'size':>4} {'stock s':>8} {'packed s':>8} "
        f"{'ratio':>6} {'max |d|':>8} {'spread':>8} {'changed':>7} {'metric':>7} "
        f"{'stock-fp32':>10} {'packed-fp32':>11}",
        flush=True,
    )
    reference: dict[str, list[Any]] = {}
    table: list[dict[str, Any]] = []
    for dtype in arguments.dtypes:
        model = load_model(arguments, dtype, len(tokenizer))
        stock = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=1)
        packed = PackedLM(model, tokenizer, arguments.batch_tokens)
        for name in arguments.benchmarks:
            settings = {
                "seed": 0,
                "block": 1,
                "sampling": "first",
                "limit": arguments.generation_limit if name == "gsm8k" else arguments.limit,
                "max_new_tokens": arguments.new_tokens,
            }
            tasks, entry = BENCHMARKS[name].load(arguments.questions, settings)
            row, ours, theirs = compare(packed, stock, (tasks, entry, settings), arguments, clock)
            row |= {"benchmark": name, "dtype": dtype}
            row["stock_to_float32"] = row["packed_to_float32"] = float("nan")
            if dtype == "float32":
                reference[name] = theirs.answers
            elif name in reference:
                row["stock_to_float32"] = difference(theirs.answers, reference[name])[1]
                row["packed_to_float32"] = difference(ours.answers, reference[name])[1]
            table.append(row)
            gap = row["largest_metric_difference"]
            print(
                f"{name:<15} {dtype:<9} {row['questions']:>6} {row['stock_batch_size']:>4} "
                f"{statistics.median(theirs.seconds):>8.2f} "
                f"{statistics.median(ours.seconds):>8.2f} {row['ratio']:>6.2f} "
                f"{row['largest_difference']:>8.1e} {row['stock_spread']:>8.1e} "
                f"{row['choices_changed']:>7} {'equal' if gap == 0 else f'{gap:.0e}':>7} "
                f"{row['stock_to_float32']:>10.4f} {row['packed_to_float32']:>11.4f}",
                flush=True,
            )
        del model, stock, packed
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=2) + "\n")
    print(
        "\nsize: batch size of HFLM. max |d|: largest difference of a log-likelihood. spread: the\n"
        "same between batch sizes of HFLM. changed: questions with another choice or text.\n"
        "metric: largest difference of a metric (that of truthfulqa_mc2 is a probability).\n"
        "...-fp32: mean absolute difference to the log-likelihoods of HFLM in float32."
    )


if __name__ == "__main__":
    main()
