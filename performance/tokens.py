"""Count the tokens that whole benchmarks ask of a model, as lm-eval sends them and packed.

The numbers behind the estimate of the paper's scale in docs/scales.md. No model is run. It takes
what `make reproduce` leaves: the first model's tokenizer and the questions below `results/`
(TruthfulQA only where a mirror holds it)::

    PYTHONPATH=workflow python performance/tokens.py
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from lowrank.assets.choice import read_questions
from lowrank.base.files import read_yaml
from lowrank.evaluate.packed.limits import GPU_BATCH_TOKENS
from lowrank.evaluate.packed.tree import CostModel, PrefixTree
from lowrank.evaluate.requests import prepare_requests

CONFIG = Path(__file__).parent.parent / "config"
BENCHMARKS = (
    "arc_easy",
    "arc_challenge",
    "hellaswag",
    "winogrande",
    "mmlu",
    "truthfulqa",
    "gsm8k",
)
SETTINGS = {"limit": None, "block": 1, "seed": 0, "sampling": "first", "max_new_tokens": None}
COST = CostModel(batch_tokens=GPU_BATCH_TOKENS)


def count(weights: Path, questions: Path, name: str) -> dict[str, int]:
    """Return how many requests and tokens a whole benchmark has.

    Parameters
    ----------
    weights
        Directory of a model, for its tokenizer.
    questions
        Folder of the benchmarks' questions.
    name
        A file of `config/benchmarks`.

    Returns
    -------
    `questions`, `requests`, `tokens` (each request by itself) and `packed` (each shared token
    once a row).
    """
    entry = read_yaml(CONFIG / "benchmarks" / f"{name}.yaml")
    entry = {"name": name, "generation": False} | entry
    with tempfile.TemporaryDirectory() as folder:
        asked, requests = Path(folder) / "asked.parquet", Path(folder) / "requests.parquet"
        prepare_requests(weights, questions / f"{name}.parquet", entry, SETTINGS, asked, requests)
        rows = read_questions(requests).to_pylist()
        number = len(read_questions(asked))
    # The last token of a continuation is predicted, not read.
    sequences = [row["context_ids"] + row["continuation_ids"][:-1] for row in rows]
    return {
        "questions": number,
        "requests": len(sequences),
        "tokens": sum(map(len, sequences)),
        "packed": PrefixTree(sequences).plan(COST).padded_tokens,
    }


def main() -> None:
    """Print a line a benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--model", default="smollm2-135m-instruct", help="whose tokenizer counts")
    parser.add_argument("--benchmarks", nargs="*", default=BENCHMARKS)
    options = parser.parse_args()
    weights = options.results / "models" / options.model / "weights"
    print(
        f"{'benchmark':<15}{'questions':>10}{'requests':>10}{'tokens':>12}{'packed':>12}{'share':>7}"
    )
    for name in options.benchmarks:
        if not (options.results / "benchmarks" / f"{name}.parquet").exists():
            print(f"{name:<15}  no questions in {options.results}/benchmarks")
            continue
        made = count(weights, options.results / "benchmarks", name)
        print(
            f"{name:<15}{made['questions']:>10,}{made['requests']:>10,}{made['tokens']:>12,}"
            f"{made['packed']:>12,}{made['packed'] / made['tokens']:>7.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
