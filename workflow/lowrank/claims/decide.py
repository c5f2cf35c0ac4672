"""Rounds of asking and judging, until what can be decided is decided or the time has ended.

The plan is one file, which is a configuration of the workflow as well. It holds the looks, how many
questions each configuration is asked, and what the rounds took. So the last state can be made by
`snakemake --configfile …`, and a later call goes on from it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, write_json
from lowrank.base.names import PLAN
from lowrank.claims.foresight import DIFFERING, Smallest, planned_effects
from lowrank.claims.ladder import Step, next_step, open_tests, settled_claims
from lowrank.claims.looks import POWER, Looks
from lowrank.claims.verdict_names import RUN_SCOPE
from lowrank.claims.wording import needed
from lowrank.evaluate.store import asking_costs
from lowrank.project.configuration import Project
from lowrank.project.views.claims import judged_models
from lowrank.project.views.evaluate import answers_folder

Run = Callable[..., None]
"""Runs the workflow on the file of a plan, and makes the files that follow it, or all results."""

Costs = Callable[[], Mapping[str, tuple[int, float]]]
"""Returns, of each benchmark, the questions that were ever asked and the seconds that they took."""


def make_decisions(
    config: Mapping[str, Any],
    folder: str | Path,
    run: Run,
    seconds: float,
    cores: int,
    say: Callable[[str], None] = print,
) -> None:
    """Say what the tests can detect, ask in rounds, and make all results of the last state.

    Parameters
    ----------
    config
        The merged configuration, without the plan.
    folder
        The folder of the registries.
    run
        Runs the workflow.
    seconds
        The time for the rounds.
    cores
        How many configurations are asked at once.
    say
        Takes lines for the user.

    Raises
    ------
    LowrankError
        If the configuration is not right, plans no looks, or the plan's file is of other looks.
    """
    project = Project(config, folder)
    if project.settings["looks"] is None:
        raise LowrankError("config: looks: nothing is planned; say `looks: {count: 5}`")
    results = project.settings["pathvars"].get("results", "results")
    path, ledger = Path(results, PLAN), f"{results}/claims.json"
    models = judged_models(project)
    # How many windows a text has, the tokenizer says: nothing can be planned of them beforehand.
    available = {b: entry["questions"] for b, entry in project.benchmarks.items()}
    names = [
        b
        for model in models.values()
        for b in project.benchmarks_of(model)
        if available[b] is not None
    ]
    plan = begin_plan(
        path,
        {b: project.settings["benchmarks"][b]["limit"] for b in names},
        {b: available[b] for b in names},
        project.settings["looks"]["count"],
    )
    looks = looks_of(plan)
    for line in _effects_in_words(planned_effects(project, looks), looks):
        say(line)
    answers = [Path(answers_folder(project), model.name) for model in models.values()]
    decide(
        path,
        ledger,
        lambda: run(path, ledger),
        lambda: asking_costs(own for folder in answers for own in folder.glob("*")),
        seconds,
        cores=cores,
        say=say,
    )
    run(path)


def begin_plan(
    path: str | Path,
    first: Mapping[str, int | None],
    available: Mapping[str, int],
    count: int,
) -> dict[str, Any]:
    """Return the plan in a file, or write and return a new one that asks the first look.

    Parameters
    ----------
    path
        The plan's file (JSON).
    first
        From a benchmark to the questions of the first look; None for all.
    available
        How many questions each benchmark has.
    count
        How many looks there are.

    Returns
    -------
    `looks` (`count`, `numbers` and `rounds`), `asked` and `benchmarks` (the limits of the first
    look): keys of a configuration.

    Raises
    ------
    LowrankError
        If the file holds a plan of other looks: a plan holds only if it was made beforehand.
    """
    made = Looks.doubling(first, available, count)
    numbers = {benchmark: list(own) for benchmark, own in made.numbers.items()}
    if Path(path).exists():
        plan: dict[str, Any] = read_json(path)
        if plan["looks"]["numbers"] != numbers:
            raise LowrankError(
                f"{path} plans other looks than the configuration does: a plan stands once it has "
                "begun. Take the change back, or move the file away to begin a new plan: answers "
                "are kept"
            )
        return plan
    limits = {b: {"limit": own[0]} for b, own in numbers.items() if first[b] is not None}
    plan = {
        "looks": {"count": count, "numbers": numbers, "rounds": []},
        "asked": {},
        "benchmarks": limits,
    }
    write_json(path, plan)
    return plan


def decide(
    path: str | Path,
    ledger: str | Path,
    run: Callable[[], None],
    costs: Costs,
    seconds: float,
    *,
    cores: int = 1,
    say: Callable[[str], None] = print,
    clock: Callable[[], float] = time.monotonic,
) -> Step:
    """Ask and judge in rounds; return the last step, which asks nothing more.

    A round that has begun is finished. The next one begins only if its questions are expected to
    fit into the time.

    Parameters
    ----------
    path
        The plan's file, as `begin_plan` left it.
    ledger
        The ledger that a run of the workflow writes.
    run
        Runs the workflow on the plan.
    costs
        See `Costs`.
    seconds
        The time that there is.
    cores
        How many configurations are asked at once.
    say
        Takes lines for the user.
    clock
        Seconds that pass.
    """
    end = clock() + seconds
    while True:
        plan = read_json(path)
        before, began = _seconds(costs()), clock()
        run()
        took, worked = clock() - began, _seconds(costs()) - before
        plan["looks"]["rounds"] = _recorded(plan["looks"]["rounds"], took, worked)
        found = read_json(ledger)
        looks = looks_of(plan)
        # What a round takes beside asking: models are compressed, claims judged, figures drawn.
        beside = max(took - worked / cores, 0.0)
        step = next_step(
            open_tests(found),
            settled_claims(found),
            looks,
            plan["asked"],
            _seconds_a_question(looks, costs(), cores),
            end - clock() - beside,
        )
        plan["looks"]["left"] = [
            {"claim": test.claim, "says": test.says, "reason": reason}
            | {"needs": test.needs, "endless": test.endless}
            | {"planned": test.planned, "exist": test.exist}
            for test, reason in step.left
        ]
        goes_on = step.asked != plan["asked"]
        if goes_on:
            plan["asked"] = step.asked
            plan["looks"]["rounds"].append(
                {"tests": len(step.going_on), "expected_seconds": round(step.seconds, 1)}
            )
        write_json(path, plan)
        for line in summary(found, step):
            say(line)
        if not goes_on:
            return step


def looks_of(plan: Mapping[str, Any]) -> Looks:
    """Return the looks of a plan's file."""
    return Looks({b: tuple(own) for b, own in plan["looks"]["numbers"].items()})


def _effects_in_words(effects: Sequence[Smallest], looks: Looks) -> list[str]:
    """Return lines that say what the tests can detect, before anything is asked."""
    lines = [
        f"{looks.count} looks are planned. With {POWER:.0%} probability the last one finds an "
        f"effect of this size, if two configurations answer {DIFFERING:.0%} of the questions "
        "differently:"
    ]
    lines += [
        f"  {own.claim}, {own.says}: {own.detects:.2g} {own.unit} ({own.questions:,} questions)"
        for own in effects
    ]
    return lines


def summary(ledger: Mapping[str, Any], step: Step) -> list[str]:
    """Return lines that say how many tests are decided, what is asked next, and what is left."""
    own = [row["scopes"][RUN_SCOPE] for row in ledger["claims"]]
    planned = [test for scope in own for test in scope["tests"] if test.get("plan")]
    still = len(step.going_on) + len(step.left)
    lines = [f"{len(planned) - still} of {len(planned)} tests are decided."]
    if step.going_on:
        minutes = max(step.seconds / 60, 0.1)
        lines.append(
            f"{len(step.going_on)} go one look further, in about {minutes:.1f} min of asking."
        )
        return lines
    for test, reason in step.left:
        words = needed(test.needs, test.planned, test.exist, test.endless)
        lines.append(f"{test.claim}, {test.says}: {'; '.join(filter(None, (reason, words)))}.")
    return lines


def _seconds(costs: Mapping[str, tuple[int, float]]) -> float:
    return sum(seconds for _, seconds in costs.values())


def _recorded(rounds: list[dict[str, Any]], took: float, worked: float) -> list[dict[str, Any]]:
    """Return the rounds with what the last one took; a run that asked nothing is none."""
    made = [dict(own) for own in rounds] or [{"tests": None, "expected_seconds": None}]
    if "seconds" in made[-1] and worked <= 0:
        return made
    for key, value in (("seconds", took), ("asking_seconds", worked)):
        made[-1][key] = round(made[-1].get(key, 0.0) + value, 1)
    return made


def _seconds_a_question(
    looks: Looks, costs: Mapping[str, tuple[int, float]], cores: int
) -> dict[str, float]:
    """Return how long one question of each benchmark keeps all cores busy, as measured.

    A benchmark of which nothing was measured counts as the dearest one.
    """
    made = {b: seconds / n / cores for b, (n, seconds) in costs.items() if n and seconds > 0}
    return {b: made.get(b, max(made.values(), default=0.0)) for b in looks.numbers}
