"""Names that several stages write and read: each is spelled here and nowhere else."""

DENSE = "dense"
"""The configuration that decomposes nothing, and the label of its row in a study's table."""

DROP = "drop"
"""The method that leaves layers out."""

CONTROL = "left out"
"""The series that leaves out the layers that the others decompose."""

AGGREGATE = "aggregate"
"""The row that holds the plain mean over benchmarks, in place of a benchmark's name."""

AUTHORS = "authors"
"""The folder, among results and among figures, of what the thesis's authors published."""

LARGEST_BATCH, CAPPED_BATCH, FIXED_BATCH = "largest", "capped", "fixed"
"""How many rows a measurement has: the most that fit, the limit of the search where more might
fit, or a number of the configuration."""

CLUSTER = "cluster"
"""The column of answers that names what some questions share, such as a passage."""

PLACE = "place"
"""The column of answers that says where a question stands in its benchmark's order of asking, from
0: the first n questions are those below n."""

PLAN = "plan.json"
"""The file, among the results of a run, that plans its looks at growing numbers of questions."""

LM_EVAL = "lm_eval"
"""The scorer that is lm-eval itself: its own tasks and metrics."""

PERPLEXITY = "perplexity"
"""The scorer that asks windows of a text, in place of questions."""

CONTINUATIONS = "continuations"
"""The scorer that asks how likely each question's own continuation is."""

PROGRAMS = "programs"
"""The scorer that lets a model write programs, and runs them against their tests."""


def row_name(series: str, label: str) -> str:
    """Return what a message or a table calls a configuration of a study."""
    return f"{series}, {label}" if series else label
