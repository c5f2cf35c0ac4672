"""A metric is known by lm-eval's name, can be described, and survives JSON and tables."""

import io
import json

import pandas as pd
import pytest
from lowrank.base.errors import LowrankError
from lowrank.base.metric import (
    AVERAGINGS,
    METRICS,
    Metric,
    in_the_mean,
    metric_of_mean,
    programs_of,
)
from lowrank.base.statistics import AVERAGES

ACC = Metric.from_config("acc", 0.25)
PERPLEXITY = Metric.from_config("word_perplexity")
BITS = Metric.from_config("bits_per_byte")


def test_each_averaging_can_be_computed():
    assert tuple(AVERAGES) == AVERAGINGS
    assert {metric.averaging for metric in METRICS.values()} == set(AVERAGINGS)


def test_a_name_and_its_filter_stay_as_they_are_written():
    for text in ("acc", "acc_norm,none", "exact_match,strict-match", "pass@1,create_test"):
        metric = Metric.from_config(text)
        assert str(metric) == text
        assert (metric.unit, metric.scale, metric.sign, metric.in_mean) == ("%", 100, 1, True)
    assert Metric.from_config("acc_norm,none").name == "acc_norm"
    assert (ACC.chance, ACC.axis) == (0.25, "Accuracy (%)")


def test_one_quantity_is_told_from_another():
    strict, plain = (Metric.from_config(f"exact_match{end}") for end in (",strict-match", ""))
    assert strict.is_like(plain) and ACC.is_like(Metric.from_config("acc", 0.5))
    assert not ACC.is_like(Metric.from_config("acc_norm")) and not ACC.is_like(plain)


def test_what_falls_when_a_model_improves_says_so():
    assert (PERPLEXITY.sign, PERPLEXITY.axis) == (-1, "Word perplexity, lower is better")
    assert BITS.axis == "Cross-entropy (bits/byte), lower is better"
    assert not PERPLEXITY.in_mean and not PERPLEXITY.is_share and ACC.is_share


def test_an_unknown_metric_is_one_line_with_the_nearest():
    with pytest.raises(LowrankError) as error:
        Metric.from_config("acc_nrom,none")
    assert str(error.value) == "metric: unknown metric 'acc_nrom'; did you mean 'acc_norm'?"


def test_a_metric_can_be_described():
    own = {"name": "edit_distance,last", "label": "Edit distance", "direction": "lower"}
    metric = Metric.from_config(own)
    assert str(metric) == "edit_distance,last"
    assert (metric.unit, metric.scale, metric.averaging) == ("", 1.0, "mean")
    assert Metric.from_config(own | {"unit": "%"}).scale == 100
    assert Metric.from_config(own | {"unit": "%", "scale": 1}).scale == 1
    with pytest.raises(LowrankError, match="'own' is not known here, so it needs `direction`"):
        Metric.from_config({"name": "own", "label": "Own"})


def test_what_is_known_can_be_described_otherwise():
    metric = Metric.from_config({"name": "exact_match", "label": "Exact match", "in_mean": False})
    assert (metric.label, metric.unit, metric.in_mean) == ("Exact match", "%", False)


def test_another_scale_is_in_another_unit():
    """A share of 0.35 would be drawn as 0.35%."""
    with pytest.raises(LowrankError, match="scale: acc is in %: another scale needs another"):
        Metric.from_config({"name": "acc", "scale": 1})
    assert Metric.from_config({"name": "acc", "scale": 1000, "unit": "‰"}).scale == 1000
    assert Metric.from_config({"name": "token_perplexity", "scale": 2}).scale == 2


def test_a_guess_scores_what_the_metric_can_be():
    with pytest.raises(LowrankError, match="25 is no share; acc scores between 0 and 1"):
        Metric.from_config("acc", 25)
    assert Metric.from_config("word_perplexity", 50257).chance == 50257


@pytest.mark.parametrize("metric", [ACC, PERPLEXITY, BITS, Metric.from_config("f1,none")])
def test_a_metric_survives_json_and_a_table(metric):
    assert Metric.from_record(json.loads(json.dumps(metric.as_record()))) == metric
    for others in ([], [ACC.as_record()]):
        text = pd.DataFrame([metric.as_record(), *others]).to_csv(index=False)
        for options in ({}, {"keep_default_na": False, "na_values": [""]}):
            row = pd.read_csv(io.StringIO(text), **options).iloc[0]
            assert Metric.from_record(row) == metric


def test_a_record_that_lacks_something_is_named():
    record = ACC.as_record()
    del record["unit"]
    with pytest.raises(LowrankError, match="described without 'unit'"):
        Metric.from_record(record)


def test_the_mean_is_over_those_that_take_part():
    both = {"arc": ACC, "wikitext": PERPLEXITY}
    assert in_the_mean(both) == ["arc"]
    assert in_the_mean({"wikitext": PERPLEXITY}) == ["wikitext"]


def test_there_is_no_mean_of_several_that_take_part_in_none():
    prose, code = (
        Metric.from_config({"name": "token_perplexity", "label": label}) for label in "ab"
    )
    assert in_the_mean({"prose": prose, "code": code}) == []
    # Not of one kind either: a number of bits of one text says nothing about another text.
    assert in_the_mean({"prose": BITS, "code": BITS}) == []
    assert in_the_mean({"prose": prose, "code": code, "arc": ACC}) == ["arc"]
    assert in_the_mean({}) == []


def test_a_mean_has_the_unit_of_its_parts():
    f1 = Metric.from_config("f1")
    assert metric_of_mean({"a": ACC, "b": Metric.from_config("acc_norm")}).axis == "Accuracy (%)"
    assert metric_of_mean({"a": ACC, "b": f1}).axis == "Score (%)"
    assert metric_of_mean({"w": PERPLEXITY}).axis == PERPLEXITY.axis
    with pytest.raises(LowrankError, match=r"a \(Accuracy \(%\)\) and w \(Word perplexity, lower"):
        metric_of_mean({"a": ACC, "w": PERPLEXITY})


def test_a_mean_of_guesses_needs_a_guess_on_each():
    four, two = Metric.from_config("acc", 0.25), Metric.from_config("acc_norm", 0.5)
    assert metric_of_mean({"a": four, "b": four, "c": two}).chance == pytest.approx(1 / 3)
    assert metric_of_mean({"a": four, "b": Metric.from_config("exact_match")}).chance is None


def test_perplexities_of_words_and_of_bytes_have_no_mean():
    with pytest.raises(LowrankError, match="have no mean"):
        metric_of_mean({"w": PERPLEXITY, "b": Metric.from_config("byte_perplexity")})


def test_the_programs_of_a_metric():
    assert [programs_of(name) for name in ("pass@1", "pass@10", "pass@100")] == [1, 10, 100]
    for name in ("pass@0", "pass@", "pass@-1", "pass_at_1", "acc", "pass@1 "):
        with pytest.raises(LowrankError, match="programs have no metric"):
            programs_of(name)
