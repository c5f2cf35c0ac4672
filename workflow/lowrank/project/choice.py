"""What a run leaves out of the configurations that its own is laid over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lowrank.assets.local_model import is_directory, name_of
from lowrank.base.errors import LowrankError, suggestion
from lowrank.project.registry import Registry
from lowrank.project.schema import with_text_keys

KINDS = {"models": "model", "studies": "study", "benchmarks": "benchmark"}
"""From a key of the configuration to the kind of entry that it names."""


def without_left_out(
    settings: Mapping[str, Any], config: Mapping[str, Any], registry: Registry
) -> dict[str, Any]:
    """Return settings without the models, studies and benchmarks that are left out.

    Parameters
    ----------
    settings
        The settings of a run, with their defaults. `leave_out` names what is left out.
    config
        The same before it got its defaults: a benchmark that is null is left out, too.
    registry
        What there is.

    Raises
    ------
    LowrankError
        If a name is of nothing, or if nothing is left.
    """
    given = with_text_keys(config["benchmarks"])
    empty = [name for name, own in given.items() if own is None]
    for name in empty:
        registry.path("benchmark", name)
    left_out = {*settings["leave_out"], *empty}
    known = [told for key in KINDS for own in settings[key] for told in (_name(own), _place(own))]
    for name in settings["leave_out"]:
        if name not in known and not any(registry.holds(kind, name) for kind in KINDS.values()):
            close = suggestion(name, dict.fromkeys(known))
            raise LowrankError(f"config: leave_out: there is no {name!r}{close}")
    kept = {
        key: [own for own in settings[key] if left_out.isdisjoint((_name(own), _place(own)))]
        for key in KINDS
    }
    for key, names in kept.items():
        if not names:
            raise LowrankError(f"config: {key}: all of them are left out")
    benchmarks = {name: settings["benchmarks"][name] for name in kept["benchmarks"]}
    return {**settings, **kept, "benchmarks": benchmarks}


def require_named(
    settings: Mapping[str, Any], config: Mapping[str, Any], registry: Registry
) -> None:
    """Check that what says how much is asked or measured names only what exists.

    Parameters
    ----------
    settings
        The settings of a run, with their defaults.
    config
        The same before it got them: a study that is measured by default need not be there.
    registry
        What there is.

    Raises
    ------
    LowrankError
        If there is none of a name.
    """
    limits, profile = settings["limits"], config.get("profile", {})
    studies = [*limits, *filter(None, [profile.get("study")])]
    for own in settings["benchmarks"].values():
        studies += own["studies"] or ()
    more = settings["asked"]
    asked = [*limits.values(), *(own for made in more.values() for own in made.values())]
    benchmarks = [name for own in asked for name in own or ()]
    for model in more.keys() - set(map(_name, settings["models"])):
        registry.path("model", model)
    for study in studies:
        registry.path("study", study)
    for benchmark in [*benchmarks, *(profile.get("benchmarks") or ())]:
        registry.path("benchmark", benchmark)


def _name(given: str | Mapping[str, str]) -> str:
    """Return the name of a model, a study or a benchmark as the configuration has it."""
    if isinstance(given, str):
        return name_of(given) if is_directory(given) else given
    return given.get("name") or name_of(given["path"])


def _place(given: str | Mapping[str, str]) -> str:
    return given if isinstance(given, str) else given["path"]
