"""Compare packed scoring with lm-eval's own `HFLM`, on the same questions and in one run.

For each benchmark and number type both score the same questions with the same weights and number
of threads, taking turns. On a CPU the time is CPU time, on a GPU wall time up to synchronisation.
`HFLM` gets the fastest of a few batch sizes, found on a part of the questions.

Example::

    PYTHONPATH=workflow python benchmarks/scoring.py --model MODEL --data DATA --limit 40

The data folder holds one folder for each data set (``arc``, ``hellaswag``, ``winogrande``,
``mmlu``, ``truthfulqa``, ``gsm8k``) that ``datasets.load_dataset(folder, name)`` can read.
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

import lm_eval
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lowrank.scoring import PackedLM
from transformers import AutoModelForCausalLM, AutoTokenizer

BENCHMARKS = {
    "arc_easy": ["arc_easy"],
    "arc_challenge": ["arc_challenge"],
    "hellaswag": ["hellaswag"],
    "winogrande": ["winogrande"],
    "mmlu": [
        "mmlu_astronomy",
        "mmlu_econometrics",
        "mmlu_philosophy",
        "mmlu_virology",
    ],
    "truthfulqa_mc1": ["truthfulqa_mc1"],
    "truthfulqa": ["truthfulqa_mc1", "truthfulqa_mc2"],
    "gsm8k": ["gsm8k_cot"],
}
"""lm-eval's tasks by benchmark; four of MMLU's subjects stand for all of them."""

WITHOUT_TRAINING_SPLIT = {"arc_easy", "arc_challenge", "hellaswag", "winogrande"}
TASK_FOLDERS = ("arc", "hellaswag", "winogrande", "mmlu/default", "truthfulqa", "gsm8k")


def load_tasks(data: Path, names: Sequence[str]) -> dict[str, list[Any]]:
    """Load lm-eval's tasks with local data.

    Parameters
    ----------
    data : pathlib.Path
        Folder of the data sets.
    names : sequence of str
        Keys of `BENCHMARKS`.

    Returns
    -------
    dict of str to list of lm_eval.api.task.Task
        The tasks of each benchmark.
    """
    folder = Path(lm_eval.__file__).parent / "tasks"
    manager = TaskManager(
        include_defaults=False, include_path=[str(folder / name) for name in TASK_FOLDERS]
    )
    # Stock tasks are inherited by name within a group only.
    specs = []
    for task in dict.fromkeys(task for name in names for task in BENCHMARKS[name]):
        spec = {"task": task, "dataset_path": str((data / task.split("_")[0]).resolve())}
        if task in WITHOUT_TRAINING_SPLIT:
            spec["training_split"] = None
        specs.append(spec)
    tasks = manager.load([{"group": "local", "task": specs}])["tasks"]
    return {name: [tasks[task] for task in BENCHMARKS[name]] for name in names}


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
        self.requests: list[Instance] = []
        self.answers: list[Any] = []
        self.seconds = 0.0

    def _pass_on(self, kind: str, requests: list[Instance]) -> list[Any]:
        start = self._clock()
        answers = getattr(self.inner, kind)(requests, disable_tqdm=True)
        self.seconds += self._clock() - start
        self.requests += requests
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

    def add(self, lm: LM, tasks: list[Any], limit: int, clock: Callable[[], float]) -> Recorder:
        """Score the questions once more."""
        recorder = Recorder(lm, clock)
        output = simple_evaluate(
            recorder, tasks=tasks, limit=limit, bootstrap_iters=0, log_samples=True
        )
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
        return recorder


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
    stock: HFLM,
    requests: list[Instance],
    sizes: Sequence[int],
    clock: Callable[[], float],
    part: float,
) -> tuple[int, float]:
    """Find the fastest batch size of `HFLM` on a part of the requests.

    Returns
    -------
    int, float
        The batch size, and the largest difference of a log-likelihood between batch sizes.
    """
    sample = requests[:: max(1, round(1 / part))]
    kind = sample[0].request_type
    seconds: dict[int, float] = {}
    answers: list[list[Any]] = []
    for size in sizes:
        stock.batch_size_per_gpu = size
        start = clock()
        answers.append(getattr(stock, kind)(sample, disable_tqdm=True))
        seconds[size] = clock() - start
    spread = max((difference(answers[0], other)[0] for other in answers[1:]), default=0.0)
    return min(seconds, key=seconds.__getitem__), spread


def main() -> None:
    """Run the comparison and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--limit", type=int, default=40, help="questions in a benchmark")
    parser.add_argument(
        "--generation-limit", type=int, default=4, help="questions in gsm8k, at most LIMIT"
    )
    parser.add_argument(
        "--benchmarks", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS), metavar="NAME"
    )
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--batch-tokens", type=int, help="tokens in a pass of the packed model")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument(
        "--part", type=float, default=0.25, help="part of the requests to choose a batch size on"
    )
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    on_gpu = arguments.device.startswith("cuda")

    def clock() -> float:
        if on_gpu:
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    tasks = load_tasks(arguments.data, arguments.benchmarks)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    header = (
        f"{'benchmark':<15} {'dtype':<9} {'size':>4} {'stock s':>8} {'packed s':>8} {'ratio':>6} "
        f"{'max |d|':>8} {'spread':>8} {'changed':>7} {'metric':>7} "
        f"{'stock-fp32':>10} {'packed-fp32':>11}"
    )
    lines = [header]
    print(header, flush=True)
    reference: dict[str, list[Any]] = {}
    figures: list[dict[str, Any]] = []
    for dtype in arguments.dtypes:
        model = AutoModelForCausalLM.from_pretrained(
            arguments.model, dtype=getattr(torch, dtype)
        ).to(arguments.device)
        stock = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=1)
        packed = PackedLM(model, tokenizer, arguments.batch_tokens)
        for name in arguments.benchmarks:
            limit = max(1, arguments.limit // len(BENCHMARKS[name]))
            if name == "truthfulqa":
                limit = arguments.limit
            elif name == "gsm8k":
                limit = min(arguments.limit, arguments.generation_limit)
            warm_up = [Instance("loglikelihood", {}, ("a b c", " d"), k) for k in range(2)]
            stock.loglikelihood(warm_up, disable_tqdm=True)
            packed.loglikelihood(warm_up, disable_tqdm=True)

            ours, theirs = Run(), Run()
            size, spread = 0, float("nan")
            for _ in range(arguments.repeats):
                recorder = ours.add(packed, tasks[name], limit, clock)
                if not size:
                    size, spread = best_batch_size(
                        stock, recorder.requests, arguments.batch_sizes, clock, arguments.part
                    )
                    stock.batch_size_per_gpu = size
                theirs.add(stock, tasks[name], limit, clock)
            if dtype == "float32":
                reference[name] = theirs.answers
            worst, _ = difference(ours.answers, theirs.answers)
            changed = sum(a != b for a, b in zip(ours.picks, theirs.picks, strict=True))
            of_stock = of_packed = float("nan")
            if name in reference and dtype != "float32":
                of_stock = difference(theirs.answers, reference[name])[1]
                of_packed = difference(ours.answers, reference[name])[1]
            seconds = statistics.median(theirs.seconds), statistics.median(ours.seconds)
            gap = metric_gap(ours.metrics, theirs.metrics)
            line = (
                f"{name:<15} {dtype:<9} {size:>4} {seconds[0]:>8.2f} {seconds[1]:>8.2f} "
                f"{seconds[0] / seconds[1]:>6.2f} {worst:>8.1e} {spread:>8.1e} {changed:>7} "
                f"{'equal' if gap == 0 else f'{gap:.0e}':>7} {of_stock:>10.4f} {of_packed:>11.4f}"
            )
            lines.append(line)
            print(line, flush=True)
            figures.append(
                {
                    "benchmark": name,
                    "dtype": dtype,
                    "questions": len(ours.picks),
                    "stock_batch_size": size,
                    "stock_seconds": theirs.seconds,
                    "packed_seconds": ours.seconds,
                    "largest_difference": worst,
                    "stock_spread": spread,
                    "choices_changed": changed,
                    "largest_metric_difference": gap,
                    "stock_metrics": theirs.metrics,
                    "packed_metrics": ours.metrics,
                }
            )
        del model, stock, packed
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(
        "\nsize: batch size of HFLM. max |d|: largest difference of a log-likelihood. spread: the\n"
        "same between batch sizes of HFLM. changed: questions with another choice or text.\n"
        "metric: largest difference of a metric (that of truthfulqa_mc2 is a probability).\n"
        "...-fp32: mean absolute difference to the log-likelihoods of HFLM in float32."
    )


if __name__ == "__main__":
    main()
