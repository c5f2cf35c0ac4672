"""What lm-eval's own tasks are and have, known before lm-eval is imported."""

import sys
from pathlib import Path

import pytest
from lm_eval.tasks import TaskManager
from lowrank.base.errors import LowrankError
from lowrank.project.registry import Registry
from lowrank.project.stock_tasks import require_stock_tasks, stock_task

REGISTRY = Registry("config")
NAMES = sorted(path.stem for path in Path("config/benchmarks").glob("*.yaml"))
STOCK = [name for name in NAMES if REGISTRY.entry("benchmark", name)["scorer"] == "lm_eval"]

ARC = REGISTRY.entry("benchmark", "arc_easy") | {"beside": {}}
FIVE = ARC | {
    "tasks": ["gsm8k"],
    "task_folder": "gsm8k",
    "metric": "exact_match,strict-match",
    "generation": True,
}
GSM8K = FIVE | {"exemplars": {"task": "gsm8k_cot"}}
LAMBADA = ARC | {"tasks": ["lambada_openai"], "task_folder": "lambada"}
MRPC = ARC | {"tasks": ["mrpc"], "task_folder": "glue"}  # it says no direction
QASPER = FIVE | {"tasks": ["longbench_qasper"], "task_folder": "longbench"}
OF_WORDS = {"name": "perplexity", "label": "Perplexity", "direction": "lower"}


@pytest.mark.parametrize("name", STOCK)
def test_the_projects_own_benchmarks_fit_lm_evals_tasks(name):
    require_stock_tasks(REGISTRY.entry("benchmark", name))


@pytest.mark.parametrize("name", ["mmlu", "truthfulqa", "wikitext", "gsm8k"])
def test_a_task_is_what_lm_eval_itself_reads(name):
    """Included files among it, and later ones over earlier ones."""
    entry = REGISTRY.entry("benchmark", name)
    folder = Path(sys.modules["lm_eval.tasks"].__file__).parent / entry["task_folder"]
    index = TaskManager(include_path=str(folder), include_defaults=False).task_index
    for template in entry["tasks"]:
        task = template.format(subset=next(iter(entry["subsets"]), ""))
        found = stock_task(entry["task_folder"], task)
        theirs = index[task].cfg
        assert {key for key in found if key != "include"} == {*theirs} - {"include"}
        plain = ("metric_list", "num_fewshot", "filter_list", "output_type", "fewshot_split")
        assert {key: found.get(key) for key in plain} == {key: theirs.get(key) for key in plain}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (ARC | {"tasks": ["arc_esy"]}, "no task 'arc_esy' in arc; did you mean 'arc_easy'"),
        (ARC | {"task_folder": "arcs"}, "task_folder: .* 'arcs'; did you mean 'arc'"),
        (ARC | {"task_folder": "/etc"}, "no folder of tasks '/etc'$"),
        (ARC | {"tasks": ["arc_{easy}"]}, "only `{subset}` may stand in braces"),
        (ARC | {"task_folder": ".."}, "no folder of tasks '..'$"),
        (
            ARC | {"metric": "accuracy"},
            "metric: arc_easy .* no metric 'accuracy'; known: acc, acc_",
        ),
        (ARC | {"beside": {"em": {"metric": "exact_match"}}}, "beside.em: .* no metric 'exact_m"),
        (ARC | {"metric": "acc,strict"}, "filters its answers by none, and not by 'strict'"),
        (GSM8K | {"metric": "exact_match"}, "known: exact_match,strict-match, exact_match,flex"),
        (ARC | {"metric": {"name": "acc", "direction": "lower"}}, "higher is better for acc of"),
        (ARC | {"metric": {"name": "acc", "averaging": "perplexity"}}, "averaged by 'mean' in"),
        (FIVE, "gsm8k of lm-eval draws 5 examples .* never taken from the questions asked"),
        (GSM8K | {"generation": False}, "generation: gsm8k of lm-eval generates text: set true"),
        (
            ARC | {"generation": True},
            "generation: arc_easy of lm-eval generates no text: set false",
        ),
        (LAMBADA | {"metric": "perplexity"}, "describe it as {name: 'perplexity', label: "),
        (LAMBADA | {"metric": OF_WORDS}, "describe it with `averaging: perplexity`"),
        (
            ARC | {"tasks": ["cb"], "task_folder": "super_glue/cb", "metric": "f1"},
            "metric: f1 of cb is no mean over questions: .* by aggregate.cb_multi_fi",
        ),
        (
            FIVE
            | {"tasks": ["gsm8k_cot_self_consistency"], "metric": "exact_match,maj@64"}
            | {"exemplars": {"task": "gsm8k_cot"}},
            "gsm8k_cot_self_consistency of lm-eval draws its texts at random",
        ),
        (MRPC | {"metric": {"name": "acc", "direction": "lower"}}, "higher is better for acc of m"),
        (MRPC | {"metric": "f1"}, "f1 of mrpc is no mean over questions: .* by f1; choose"),
        (
            ARC | {"tasks": ["squadv2"], "task_folder": "squadv2", "metric": "f1"},
            "squadv2 of lm-eval is a Python class",
        ),
    ],
)
def test_what_does_not_fit_is_said(entry, message):
    with pytest.raises(LowrankError, match=message):
        require_stock_tasks(entry)


@pytest.mark.parametrize(
    "entry",
    [
        GSM8K,
        FIVE | {"tasks": ["gsm8k_cot"]},  # which carries its examples with it
        # It has a temperature, and does not draw.
        QASPER | {"metric": {"name": "qa_f1_score", "label": "F1", "direction": "higher"}},
        LAMBADA | {"metric": "acc"},
        LAMBADA | {"metric": OF_WORDS | {"averaging": "perplexity"}},
    ],
)
def test_what_fits_is_taken(entry):
    require_stock_tasks(entry)
