from itertools import pairwise

import pytest
from lowrank.running.progress import Progress, clock, stages_of, time_left

STAGES = {"fetch": "fetch", "evaluate": "evaluate", "draw": "figures"}


def test_the_stage_of_a_rule_is_the_file_that_holds_it(tmp_path):
    (tmp_path / "assets.smk").write_text("rule fetch_model:\n    input: 'x'\n")
    (tmp_path / "decompose.smk").write_text('"""A rule is: text."""\nrule compress:\n    ...\n')
    assert stages_of(tmp_path) == {"fetch_model": "fetch", "compress": "decompose"}


def test_the_rules_of_the_workflow_have_a_stage():
    stages = stages_of("workflow/rules")
    assert stages["fetch_model"] == "fetch"
    assert stages["factorize_layer"] == "decompose"
    assert stages["evaluate"] == "evaluate"
    assert stages["build_report"] == "paper"


def done_in_order(progress, jobs, now):
    """Do jobs one after the other, each a rule and its seconds; return the time after them."""
    for job, (rule, seconds) in jobs:
        progress.start(job, rule, 1, now)
        now += seconds
        progress.finish(job, now)
    return now


def test_the_time_left_is_that_of_each_rule_s_own_jobs():
    progress = Progress({"fetch": 10, "evaluate": 10}, STAGES, now=0)
    now = done_in_order(progress, enumerate([("fetch", 1)] * 8 + [("evaluate", 30)]), 0)
    assert (progress.done, progress.total, progress.percent) == (9, 20, 45)
    assert progress.seconds_left(now) == pytest.approx(2 * 1 + 9 * 30)


def test_jobs_of_a_rule_that_none_is_done_of_cost_the_mean_of_all():
    progress = Progress({"fetch": 3, "draw": 2}, STAGES, now=0)
    now = done_in_order(progress, enumerate([("fetch", 2), ("fetch", 6)]), 0)
    assert progress.seconds_left(now) == pytest.approx(1 * 4 + 2 * 4)


def test_the_time_left_is_unknown_at_first():
    progress = Progress({"fetch": 3, "draw": 4, "evaluate": 9}, STAGES, now=0)
    assert progress.seconds_left(5) is None
    now = done_in_order(progress, enumerate([("fetch", 1)] * 3), 0)
    assert progress.seconds_left(now) is None
    seen = done_in_order(progress, [(3, ("evaluate", 10))], now)
    assert progress.seconds_left(seen) == pytest.approx(8 * 10 + 4 * 13 / 4)  # rules of 12 jobs
    progress = Progress({"fetch": 3, "draw": 4, "evaluate": 9}, STAGES, now=0)
    now = done_in_order(progress, enumerate([("fetch", 1)] * 3 + [("draw", 1)]), 0)
    assert progress.seconds_left(now) == pytest.approx(12)  # a quarter is done


def test_a_job_that_takes_longer_than_any_before_is_a_warning_for_those_like_it():
    progress = Progress({"fetch": 4, "evaluate": 3}, STAGES, now=0)
    now = done_in_order(progress, enumerate([("fetch", 1)] * 4), 0)
    progress.start(4, "evaluate", 1, now)
    assert progress.seconds_left(now + 60) == pytest.approx(2 * 60)
    progress.finish(4, now + 60)
    progress.start(5, "evaluate", 1, now + 60)
    assert progress.seconds_left(now + 160) == pytest.approx(60)  # now their mean is known


def test_jobs_side_by_side_take_less_time_and_jobs_of_more_threads_more():
    progress = Progress({"evaluate": 8}, STAGES, now=0)
    for job in (0, 1):
        progress.start(job, "evaluate", 1, 0)
    for job in (0, 1):
        progress.finish(job, 10)
    assert progress.seconds_left(10) == pytest.approx(30)
    progress = Progress({"fetch": 4, "evaluate": 4}, STAGES, now=0)
    for job in (0, 1):
        progress.start(job, "fetch", 1, 0)
        progress.finish(job, 10)
    progress.start(2, "evaluate", 2, 10)
    progress.finish(2, 20)
    assert progress.seconds_left(20) == pytest.approx(2 * 10 / 2 + 3 * 10)


def test_a_running_job_leaves_what_it_has_not_done_yet():
    progress = Progress({"evaluate": 2}, STAGES, now=0)
    now = done_in_order(progress, [(0, ("evaluate", 10))], 0)
    progress.start(1, "evaluate", 1, now)
    assert progress.running == ["evaluate"]
    assert progress.seconds_left(now + 4) == pytest.approx(6)
    assert progress.seconds_left(now + 40) == 0


def test_the_last_job_alone_does_not_go_faster_for_the_cores_that_are_free():
    progress = Progress({"evaluate": 5}, STAGES, now=0)
    for job in range(4):
        progress.start(job, "evaluate", 1, 0)
    for job in range(4):
        progress.finish(job, 10)
    progress.start(4, "evaluate", 1, 10)
    assert progress.seconds_left(10) == pytest.approx(10)


def test_a_failed_job_is_counted_until_it_is_done_after_all():
    progress = Progress({"evaluate": 3}, STAGES, now=0)
    now = done_in_order(progress, [(0, ("evaluate", 10))], 0)
    progress.start(1, "evaluate", 1, now)
    progress.fail(1, now + 10)
    assert progress.failed == {1}
    assert (progress.done, progress.running) == (1, [])
    assert progress.seconds_left(now + 10) == pytest.approx(10)
    progress.start(1, "evaluate", 1, now + 10)
    progress.finish(1, now + 20)
    assert progress.failed == set()
    assert progress.done == 2
    assert progress.seconds_left(now + 20) == pytest.approx(10)


def test_stages_are_counted_in_the_order_of_the_jobs():
    progress = Progress({"fetch": 2, "draw": 3, "evaluate": 4, "all": 1}, STAGES, now=0)
    assert progress.stages == "fetch 2, figures 3, evaluate 4, all 1"
    for job, rule in enumerate(["draw", "evaluate", "evaluate"]):
        progress.start(job, rule, 1, 0)
    assert progress.running == ["evaluate", "figures"]
    assert progress.begun == {"evaluate", "figures"}


def test_times_are_written_as_they_are_read():
    assert [clock(0.9), clock(310), clock(36061)] == ["0:00:00", "0:05:10", "10:01:01"]
    assert time_left(None) == "estimating"
    assert time_left(0) == "about 10 s left"
    assert time_left(54) == "about 50 s left"
    assert time_left(55) == "about 1 min left"
    assert time_left(3540) == "about 59 min left"
    assert time_left(9000) == "about 2.5 h left"


def test_five_thousand_jobs_are_followed_in_no_time():
    progress = Progress({"fetch": 2500, "evaluate": 2500}, STAGES, now=0)
    left = []
    now = 0.0
    for job in range(5000):
        now = done_in_order(progress, [(job, (("fetch", "evaluate")[job % 2], 1))], now)
        left.append(progress.seconds_left(now))
    assert left[1:] == sorted(left[1:], reverse=True)
    assert all(before - after == pytest.approx(1) for before, after in pairwise(left[1:]))
    assert left[-1] == 0
