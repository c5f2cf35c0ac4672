"""A kept run as a scope: its verdicts stand beside those of a later run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json
from lowrank.claims.verdict_names import NOT_RUN, NOT_TESTABLE, RUN_SCOPE

OTHER_VERSION = "kept by another version of the claims"


@dataclass(frozen=True)
class KeptRun:
    """The verdicts of a run that was kept, or the place of one that nobody has made.

    Attributes
    ----------
    name, title, short
        See `lowrank.claims.scopes.Scope`.
    holds_for
        The models and devices that it judged.
    judged
        From a claim to its judgement, as the kept ledger has it.
    digests
        From a claim to the digest of what its verdict rested on.
    path
        The kept ledger.
    reason
        Why there is none; empty where there is.
    """

    name: str
    title: str
    short: str
    holds_for: str
    judged: Mapping[str, Mapping[str, Any]]
    digests: Mapping[str, str]
    path: str
    reason: str


def load_kept(
    name: str, title: str, short: str, ledger: str | None = None, reason: str = ""
) -> KeptRun:
    """Return a kept run as a scope.

    Parameters
    ----------
    name, title, short
        See `lowrank.claims.scopes.Scope`.
    ledger
        The JSON that `lowrank.claims.ledger.judge_claims` wrote for it; None where no run is kept.
    reason
        Why none is kept.

    Raises
    ------
    LowrankError
        If the ledger has no verdicts of a run.
    """
    if ledger is None:
        return KeptRun(name, title, short, "", {}, {}, "", reason)
    content = read_json(Path(ledger))
    try:
        (own,) = (scope for scope in content["scopes"] if scope["scope"] == RUN_SCOPE)
        judged = {row["id"]: row["scopes"][RUN_SCOPE] for row in content["claims"]}
        digests = {row["id"]: row.get("digest", "") for row in content["claims"]}
        return KeptRun(name, title, short, own["holds_for"], judged, digests, ledger, "")
    except (KeyError, ValueError):
        raise LowrankError(f"{ledger} has no verdicts of a run; keep the run anew") from None


def kept_judgement(run: KeptRun, name: str, claim: Mapping[str, Any]) -> dict[str, Any]:
    """Return the judgement of a kept run on a claim.

    What was kept counts only if the claim's tests, what it speaks of, and the configurations of
    its studies are those of today.

    Parameters
    ----------
    name
        The claim's key.
    claim
        Its entry in `config/claims.yaml`, with its `digest`.
    """
    own = run.judged.get(name)
    if run.reason:
        return _untested(NOT_RUN)
    if own is None or run.digests[name] != claim["digest"] or not _has_readings(own):
        return _untested(OTHER_VERSION)
    # The files that it was computed from are not here: the kept ledger is.
    tests = [{**test, "evidence": [run.path] if test["evidence"] else []} for test in own["tests"]]
    return {**own, "tests": tests}


def _has_readings(own: Mapping[str, Any]) -> bool:
    """Return whether what was kept says how each of its intervals is read, as it does today."""
    return all("readings" in test for test in own["tests"] if "value" in test) and (
        "otherwise" in own
    )


def _untested(reason: str) -> dict[str, Any]:
    return {
        "verdict": NOT_TESTABLE,
        "verdict_like_these": None,
        "otherwise": "",
        "reading": "",
        "is_named": True,
        "reason": reason,
        "holds_for": "",
        "statement": reason,
        "studies": [],
        "deciding": {"test": None, "says": "", "measured": "", "note": reason, "flags": []},
        "tests": [],
    }
