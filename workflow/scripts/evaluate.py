"""Score one configuration on one benchmark."""

from collections.abc import Callable

from lowrank import cli, evaluation_job


def load() -> Callable[..., None]:
    from lowrank.evaluation import evaluate

    return evaluate


if __name__ == "__main__":
    cli.run(lambda: evaluation_job.run(__doc__, "lowrank.evaluation:evaluate", load))
