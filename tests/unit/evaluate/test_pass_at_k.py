"""pass@k, by trying every choice of programs."""

import itertools
import math
from fractions import Fraction

import pytest
from lowrank.base.errors import LowrankError
from lowrank.evaluate.pass_at_k import pass_at_k


@pytest.mark.parametrize("samples", range(1, 9))
def test_is_the_share_of_choices_with_a_program_that_passed(samples):
    for passed in range(samples + 1):
        programs = [True] * passed + [False] * (samples - passed)
        for k in range(1, samples + 1):
            choices = [any(chosen) for chosen in itertools.combinations(programs, k)]
            expected = sum(choices) / len(choices)
            assert pass_at_k(samples, passed, k) == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize(("samples", "passed", "k"), [(200, 1, 100), (200, 37, 10), (5000, 3, 99)])
def test_many_programs(samples, passed, k):
    missed = Fraction(math.comb(samples - passed, k), math.comb(samples, k))
    assert pass_at_k(samples, passed, k) == pytest.approx(float(1 - missed), rel=1e-10)


def test_pass_at_1_is_the_share_that_passed():
    for passed in range(8):
        assert pass_at_k(7, passed, 1) == pytest.approx(passed / 7)


@pytest.mark.parametrize("wrong", [(3, 1, 4), (3, 4, 1), (3, -1, 1), (0, 0, 1), (3, 1, 0)])
def test_what_is_not_known(wrong):
    with pytest.raises(LowrankError, match="is not known"):
        pass_at_k(*wrong)
