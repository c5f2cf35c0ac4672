"""How a run differs from the thesis's experiments, said from what the run was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lowrank.base.thesis import read_thesis


def deviations(
    models: Sequence[Mapping[str, Any]], run: Mapping[str, Any], thesis: str | Path
) -> list[str]:
    """Return a run's differences from the thesis's experiments, one or two sentences each.

    Parameters
    ----------
    models
        The models of the report's facts (see `lowrank.paper.facts`).
    run
        `unavailable` (benchmarks that the run names but has no source for), `thesis_benchmarks`
        (name and label of each benchmark of the thesis's Table 4.1) and `profile` (the settings of
        the measurements).
    thesis
        The file that holds what the thesis prints.
    """
    set_up = read_thesis(thesis, "set_up")
    known = {*read_thesis(thesis, "table_4_1"), *set_up["benchmarks"]}
    made: list[str] = []
    for model in models:
        made += _of_model(model, set_up, known)
    made += _left_out(models, run)
    measured = [model for model in models if model["fits"]]
    if measured:
        made += _of_measurements(measured, run["profile"], set_up)
    return [
        *made,
        "Truncated singular value decomposition stands for the thesis's iterative algorithm. The "
        "two agree to rounding (tests/unit/decompose/test_svd.py).",
    ]


def _of_model(
    model: Mapping[str, Any], set_up: Mapping[str, Any], known: Iterable[str]
) -> Iterable[str]:
    label, benchmarks = model["label"], model["benchmarks"]
    if model["model"] not in set_up["models"]:
        yield f"{label} is none of the thesis's models: {model['layers']} layers, " + (
            f"{model['parameters']:,} parameters."
        )
    if model["random_weights"]:
        yield f"The weights of {label} are random: its scores mean nothing."
    if model["quantized"]:
        yield (
            f"The weights of {label} come from a quantized file ({model['quantized']}) and were "
            f"dequantized to {model['dtype']}: the dense model here is not the published one to "
            "the last bit."
        )
    if model["dtype"] != set_up["dtype"]:
        yield (
            f"{label} is scored in {model['dtype']}; the authors compute in {set_up['dtype']}, "
            "which holds nothing above 65,504. Activations of an MLP at rank 1 can be larger."
        )
    depths = {study["depth"] for study in model["studies"] if study["carried_over"]}
    for depth in sorted(depths):
        yield (
            f"{label} has {model['layers']} layers: layer lists that were written for {depth} are "
            "carried over by relative depth, and remove other shares of the parameters."
        )
    widths = {study["width"] for study in model["studies"]} - {None, model["width"]}
    for width in sorted(widths):
        yield (
            f"{label} is {model['width']} wide: pruned ranks above one are carried over from a "
            f"width of {width:,} as the same fraction."
        )
    foreign = [row["benchmark_label"] for row in benchmarks if row["benchmark"] not in known]
    if foreign:
        yield f"{label} is scored on {_listed(foreign)}, which the thesis does not use."
    part = [row for row in benchmarks if row["questions_least"] < row["questions_available"]]
    if part:
        how = {
            "first": "the first of each subset, as lm-eval's own limit takes them",
            "random": f"chosen at random by the seed {model['seed']}",
        }[model["sampling"]]
        asked = [f"{_named(row)} {_asked(row)} of {row['questions_available']:,}" for row in part]
        yield f"{label} is asked a part of the questions ({how}): {_listed(asked)}."
    yield from (f"{label}, {_named(row)}: {row['differs']}" for row in benchmarks if row["differs"])
    for row in benchmarks:
        if row["max_new_tokens"] is not None:
            yield (
                f"{label}: answers to {_named(row)} are cut after {row['max_new_tokens']} tokens; "
                "lm-eval's task allows more."
            )


def _asked(row: Mapping[str, Any]) -> str:
    """Return how many questions the configurations were asked: a number, or the range."""
    least, most = row["questions_least"], row["questions_most"]
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _left_out(models: Sequence[Mapping[str, Any]], run: Mapping[str, Any]) -> Iterable[str]:
    asked = {row["benchmark"] for model in models for row in model["benchmarks"]}
    missing = [(name, label) for name, label in run["thesis_benchmarks"] if name not in asked]
    for there, why in (
        (True, "no source is present here"),
        (False, "this run's configuration does not name them"),
    ):
        names = [label for name, label in missing if (name in run["unavailable"]) == there]
        if names:
            yield f"Benchmarks of the thesis that are left out: {_listed(names)} ({why})."


def _of_measurements(
    models: Sequence[Mapping[str, Any]], profile: Mapping[str, Any], set_up: Mapping[str, Any]
) -> Iterable[str]:
    devices = dict.fromkeys(model["device"] for model in models)
    yield (
        f"The thesis measures on {set_up['devices']}, this run on {_listed(devices)} in "
        f"{profile['dtype']}."
    )
    batch = (
        f"A batch of up to {profile['largest_batch']} rows is searched for here"
        if profile["batch"] == "auto"
        else f"The batch is {profile['batch']} here"
    )
    least = f" of at least {profile['seconds']:g} s each" if profile["seconds"] else ""
    yield (
        f"The thesis runs each benchmark for {set_up['duration']} at {set_up['batch']}. {batch}, "
        f"in {profile['trials']} trials{least}. Both models are in one process and take turns in "
        "random order, and the ratio has an interval; the thesis does not say how its models took "
        "turns."
    )
    fits = [fit for model in models for fit in model["fits"]]
    measured = {fit["metric"] for fit in fits if fit["status"] == "measured"}
    for metric, reason in {fit["metric"]: fit["reason"] for fit in fits}.items():
        if metric not in measured:
            yield f"There is no slope of {metric}: {reason}."


def _named(benchmark: Mapping[str, Any]) -> str:
    """Return the name that figures print, without what they say of cut answers."""
    return benchmark["benchmark_label"].partition(",")[0]


def _listed(items: Iterable[str]) -> str:
    *most, last = items
    return f"{', '.join(most)} and {last}" if most else last
