"""Rounds of asking and judging on made answers: what is decided, given up, and gone on from."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from lowrank.base.errors import LowrankError
from lowrank.base.files import merge, read_json, read_yaml, write_json
from lowrank.base.metric import Metric
from lowrank.claims import decide as module
from lowrank.claims.decide import begin_plan, decide, looks_of, make_decisions
from lowrank.claims.evidence import Evidence
from lowrank.claims.foresight import planned_effects
from lowrank.claims.ladder import GIVEN_UP, NO_TIME
from lowrank.claims.ledger import judge_claims
from lowrank.claims.looks import Looks
from lowrank.claims.rendering import as_details, rows_of_tests
from lowrank.claims.scopes import Scope
from lowrank.claims.studies import AnsweredStudy
from lowrank.project.configuration import Project
from lowrank.project.views.claims import claim_scopes
from made_evaluations import write_scores
from scipy.stats import norm

EXIST = {"quiz": 600, "maze": 130}
FIRST = {"quiz": 60, "maze": 16}
CONFIGURATIONS = ("dense", "good", "same", "bad")
RIGHT = {"dense": 0.7, "good": 0.68, "same": 0.685, "bad": 0.4}
"""How likely a configuration answers a question right; it draws for each by itself."""

SUBJECT = {"model": "small", "label": "Small-1M", "device": "A CPU", "device_type": "cpu"}


def contrast(says, first, second, benchmarks, low=0, high=None):
    arguments = {"study": "small", "first": first, "second": second, "benchmarks": benchmarks}
    made = {"says": says, "short": says, "operator": "contrast", "arguments": arguments}
    made |= {"unit": "points", "range": [low, high], "at_chance": "undecided", "kind": "llama"}
    return made | {"models": [], "devices": []}


DENSE, BAD, SAME = {"dense": True}, {"labels": ["bad"]}, {"labels": ["same"]}
TESTS = {
    "C1": [contrast("loss of the bad one", DENSE, BAD, ["quiz"])],  # 30 points
    "C2": [contrast("loss of the same one", DENSE, SAME, ["quiz"])],  # 1.5 points
    "C3": [
        contrast("loss on a short benchmark", DENSE, SAME, ["maze"]),
        contrast("of another model", DENSE, SAME, ["quiz"]) | {"models": ["large"]},
    ],
}


def claims():
    words = dict.fromkeys(("title", "claim", "source", "allowed", "digest", "untested"), "")
    shared = words | {"named": {}, "scales": ["laptop"], "figures": []}
    shared |= {"speaks_of": {"models": ["small"], "devices": []}}
    return {name: shared | {"tests": tests} for name, tests in TESTS.items()}


class World:
    """A workflow that asks what a plan says, and judges. It counts what it asks anew."""

    def __init__(self, folder, seed=0):
        rng = np.random.default_rng(seed)
        self.folder, self.plan = folder, folder / "plan.json"
        self.ledger = folder / "claims.json"
        self.answers = {
            (name, benchmark): (rng.random(exist) < RIGHT[name]).astype(float)
            for name, benchmark in itertools.product(CONFIGURATIONS, EXIST)
            for exist in [EXIST[benchmark]]
        }
        self.asked = dict.fromkeys(self.answers, 0)
        self.now, self.new, self.fails = 0.0, [], False

    def limit(self, name, benchmark):
        plan = read_json(self.plan)
        own = plan["asked"].get("small", {}).get(name, {}).get(benchmark, 0)
        return max(own, plan["benchmarks"][benchmark]["limit"])

    def run(self):
        self.new.append(0)
        rows = []
        for (name, benchmark), values in self.answers.items():
            count = self.limit(name, benchmark)
            self.new[-1] += max(count - self.asked[name, benchmark], 0)
            self.asked[name, benchmark] = max(count, self.asked[name, benchmark])
            order = np.random.default_rng(1).permutation(count)  # of rows in the file
            frame = {"task": "t", "question": order, "value": values[order], "place": order}
            write_scores(self.folder / "evaluations", name, benchmark, frame)
            row = {"series": "", "label": name, "position": None, "decomposition": name}
            row |= {"parameter_reduction_percent": 0.0, "benchmark": benchmark}
            row |= {"questions": count, "questions_available": EXIST[benchmark]}
            rows.append(
                row | Metric.from_config("acc").as_record() | {"score": values[:count].mean()}
            )
        self.now += 2.0 + self.new[-1]  # seconds
        if self.fails:
            raise LowrankError("cut off")
        path = self.folder / "studies" / "small.csv"
        path.parent.mkdir(exist_ok=True)
        pd.DataFrame(rows).to_csv(path, index=False)
        evidence = {"llama": Evidence({"small": AnsweredStudy(path, self.folder / "evaluations")})}
        looks = looks_of(read_json(self.plan))
        scope = Scope("run", "This run", evidence, {"llama": SUBJECT}, looks=looks)
        judge_claims(claims(), [scope], {}, self.ledger)

    def costs(self):
        return {
            benchmark: (sum(n for (_, b), n in self.asked.items() if b == benchmark),) * 2
            for benchmark in EXIST
        }

    def decide(self, seconds=1e6, count=4):
        begin_plan(self.plan, FIRST, EXIST, count)
        self.said = []
        return decide(
            self.plan,
            self.ledger,
            self.run,
            self.costs,
            seconds,
            say=self.said.append,
            clock=lambda: self.now,
        )

    def tests(self):
        return {
            row["id"]: row["scopes"]["run"]["tests"][0] for row in read_json(self.ledger)["claims"]
        }


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture(scope="module")
def decided(tmp_path_factory):
    """A world after all its rounds, and the last step; tests only read it."""
    world = World(tmp_path_factory.mktemp("decided"))
    return world, world.decide()


def test_what_can_be_decided_is_and_the_rest_says_what_it_needs(decided):
    world, step = decided
    tests = world.tests()
    bad, same, short = (tests[name] for name in ("C1", "C2", "C3"))
    assert bad["verdict"] == "supported" and 1 < bad["plan"]["look"] < 4
    assert bad["questions"] == bad["plan"]["planned"][bad["plan"]["look"] - 1]
    assert same["verdict"] == "undecided" and same["plan"]["given_up"]
    assert same["plan"]["needs"] > 512 and same["plan"]["exist"] == 600
    assert short["plan"]["planned"] == [16, 32, 64, 128]
    assert {reason for _, reason in step.left} == {GIVEN_UP}
    assert world.said[-3].startswith("1 of 3 tests are decided")  # one cannot be judged here
    # The one that is decided was asked no more than its look has; the one that is none was not.
    look = bad["plan"]["look"]
    assert world.asked["bad", "quiz"] == looks_of(read_json(world.plan)).numbers["quiz"][look - 1]
    assert world.asked["good", "quiz"] == 64 and world.asked["bad", "maze"] == 16
    assert any("C2" in line and "600 exist" in line for line in world.said)


def test_a_verdict_is_that_of_its_look_whatever_else_was_asked(world):
    """The same answers, all of them asked at once: equal verdicts on equal questions."""
    world.decide()
    stepwise = world.tests()
    plan = read_json(world.plan)
    every = {name: {b: n[-1] for b, n in plan["looks"]["numbers"].items()} for name in RIGHT}
    write_json(world.plan, plan | {"asked": {"small": every}})
    world.run()
    at_once = world.tests()
    assert at_once["C1"] == stepwise["C1"] | {"available": at_once["C1"]["available"]}
    for name in ("C2", "C3"):  # what was given up goes on to the last look here
        assert at_once[name]["plan"]["look"] == 4 >= stepwise[name]["plan"]["look"]


def test_running_again_asks_nothing_and_changes_no_verdict(world):
    world.decide()
    first, plan = world.ledger.read_bytes(), read_json(world.plan)
    world.decide()
    assert world.new[-1] == 0
    assert world.ledger.read_bytes() == first
    assert read_json(world.plan) == plan


def test_pieces_end_where_one_run_ends(decided, tmp_path):
    world, _ = decided
    pieces = World(tmp_path)
    for _ in range(4):
        pieces.decide(seconds=600)
    assert pieces.tests() == {
        name: test | {"evidence": pieces.tests()[name]["evidence"]}
        for name, test in world.tests().items()
    }
    assert pieces.asked == world.asked
    assert read_json(pieces.plan)["asked"] == read_json(world.plan)["asked"]


def test_a_round_that_was_cut_off_is_done_again_and_no_look_is_lost(world, decided):
    begin_plan(world.plan, FIRST, EXIST, 4)
    world.run()
    run, world.run = world.run, lambda: None
    looks = looks_of(read_json(world.plan))
    step = module.next_step(
        module.open_tests(read_json(world.ledger)), set(), looks, {}, dict.fromkeys(EXIST, 1), 1e6
    )
    write_json(world.plan, read_json(world.plan) | {"asked": step.asked})
    world.run, world.fails = run, True
    with pytest.raises(LowrankError, match="cut off"):
        world.decide()
    assert read_json(world.plan)["asked"] == step.asked
    world.fails = False
    world.decide()
    whole, _ = decided
    assert read_json(world.plan)["asked"] == read_json(whole.plan)["asked"]


def test_no_round_begins_that_does_not_fit_into_the_time(world):
    step = world.decide(seconds=250)  # the first look takes 320 s, and is made all the same
    assert world.new == [320]
    assert {reason for _, reason in step.left} <= {NO_TIME, GIVEN_UP}
    assert NO_TIME in {reason for _, reason in step.left}
    plan = read_json(world.plan)
    assert plan["asked"] == {} and len(plan["looks"]["rounds"]) == 1
    assert plan["looks"]["left"][0]["exist"] in (600, 130)


def test_a_plan_of_other_looks_is_refused(world):
    begin_plan(world.plan, FIRST, EXIST, 4)
    begin_plan(world.plan, FIRST, EXIST, 4)
    with pytest.raises(LowrankError, match="plans other looks"):
        begin_plan(world.plan, FIRST | {"quiz": 80}, EXIST, 4)


def test_renderings_say_the_look_and_what_it_takes(decided):
    world, _ = decided
    ledger = read_json(world.ledger)
    text = " ".join(as_details(ledger)[0].split())
    look = world.tests()["C1"]["plan"]["look"]
    assert f"look {look} of 4, its interval" in text
    assert "given up: needs about" in text and "600 exist" in text
    assert "the last look detects" in text and "O'Brien and Fleming" in text
    assert "Questions at each look: maze 16, 32, 64, 128; quiz 64, 128, 256, 512." in text
    assert any(f"look {look} of 4" in cell for row in rows_of_tests(ledger) for cell in row)


def test_an_interval_is_the_single_one_stretched_about_its_value(decided):
    world, _ = decided
    test = world.tests()["C1"]
    low, high = test["interval_95"]
    plain = AnsweredStudy(world.folder / "studies/small.csv", world.folder / "evaluations")
    first = plain.up_to({"quiz": test["questions"]})
    weights_C1 = np.array([[1.0], [0.0], [0.0], [-1.0]])
    replicates_R = first.contrasts(weights_C1, ["quiz"]).replicates_RS[:, 0]
    ends = np.quantile(replicates_R, [0.025, 0.975])
    value = (
        100
        * (world.answers["dense", "quiz"] - world.answers["bad", "quiz"])[
            : test["questions"]
        ].mean()
    )
    assert test["value"] == pytest.approx(value)
    stretch = test["plan"]["stretch"]
    assert low == pytest.approx(value - stretch * (value - ends[0]), abs=0.05)
    assert high == pytest.approx(value + stretch * (ends[1] - value), abs=0.05)


@pytest.fixture(scope="module")
def laptop():
    return merge(read_yaml(f"config/{name}.yaml") for name in ("config", "laptop", "decide")) | {
        "hub": True
    }


def test_the_laptop_s_plan_is_a_configuration_of_the_workflow(laptop, tmp_path, monkeypatch):
    """`make decide` without a run: it says what it can find, and its plan file is one to run."""
    calls, said = [], []
    monkeypatch.setattr(module, "decide", lambda path, *_, **__: calls.append(path))
    config = laptop | {"pathvars": {"results": str(tmp_path.relative_to("/"))}}
    monkeypatch.chdir("/")
    monkeypatch.setattr(module, "asking_costs", lambda folders: {})
    root = __file__.rsplit("/tests/", 1)[0]
    make_decisions(config, f"{root}/config", lambda *a: calls.append(a), 60, 2, said.append)
    plan = tmp_path / "plan.json"
    assert [str(call) for call in calls[:1]] == [str(plan.relative_to("/"))]
    assert calls[1:] == [(plan.relative_to("/"),)]  # at last all results
    project = Project(merge([config, json.loads(plan.read_text())]), f"{root}/config")
    numbers = project.settings["looks"]["numbers"]
    (model,) = project.models.values()
    assert set(project.benchmarks_of(model)) - set(numbers) == {"perplexity_prose"}  # not asked
    for benchmark in numbers:
        assert project.limit(model, "dense", benchmark) == numbers[benchmark][0]
    for entry in claim_scopes(project, str, f"{root}/paper/authors", {}, {}):
        assert entry.get("looks") == (numbers if entry["name"] == "run" else None)
    assert said[0].startswith("5 looks are planned")
    assert any(line.startswith("  C5, ") and " points (" in line for line in said)


def test_what_a_difference_can_detect_is_worked_out_by_hand(laptop):
    """Two configurations, one benchmark: (1.98 + 0.84) · √(d/n)."""
    project = Project(laptop, "config")
    names = project.benchmarks_of(next(iter(project.models.values())))
    looks = Looks(dict.fromkeys(names, (300,)))
    (made,) = [
        own
        for own in planned_effects(project, looks)
        if own.says == "distance 6 less distance 1 on ARC-Easy, as run"
    ]
    expected = 100 * (norm.ppf(0.975) + norm.ppf(0.8)) * np.sqrt(0.3 / 300)
    assert made.detects == pytest.approx(expected, rel=0.03)
    assert (made.claim, made.unit, made.questions) == ("C6", "points", 300)
