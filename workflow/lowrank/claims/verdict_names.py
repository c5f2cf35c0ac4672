"""The verdicts that a test or a claim can have, in the words that results print."""

SUPPORTED, CONTRADICTED = "supported", "contradicted"
"""Of the model and the device that a claim speaks of."""

TRIVIAL = "trivially supported"
"""Supported, since all that is compared scores at chance."""

SEEN, NOT_SEEN, TRIVIALLY_SEEN = "seen here", "not seen here", "trivially seen here"
"""The same of a model or a device that the claim does not speak of: they cannot decide it."""

UNDECIDED, NOT_TESTABLE = "undecided", "not testable here"

VERDICTS = (
    *(SUPPORTED, TRIVIAL, CONTRADICTED),
    *(SEEN, TRIVIALLY_SEEN, NOT_SEEN),
    *(UNDECIDED, NOT_TESTABLE),
)

ELSEWHERE = {SUPPORTED: SEEN, TRIVIAL: TRIVIALLY_SEEN, CONTRADICTED: NOT_SEEN}
"""From the verdict on what a claim speaks of to that on what it does not."""

RUN_SCOPE = "run"
"""The key of a run's own scope in its ledger."""

NOT_RUN = "not run yet"
"""What a scope says in place of a verdict where nobody has made its run."""
