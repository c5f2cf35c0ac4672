"""What becomes of a program, in a word or two."""

PASSED = "passed"
FAILED = "failed"
"""A test does not hold, or the program raised something; it may not even be Python."""

TIMED_OUT = "timed out"
OUT_OF_MEMORY = "out of memory"
TOO_LONG = "answer too long"
ENDED = "ended early"
"""The program ended itself, or closed what it answers through, before its tests were done."""

CRASHED = "crashed"
"""A signal ended it."""

OUTCOMES = (PASSED, FAILED, TIMED_OUT, OUT_OF_MEMORY, TOO_LONG, ENDED, CRASHED)
