"""Score one configuration of an encoder on one benchmark."""

from collections.abc import Callable

from lowrank import cli, evaluation_job


def load() -> Callable[..., None]:
    from lowrank.encoder_evaluation import evaluate

    return evaluate


if __name__ == "__main__":
    cli.run(lambda: evaluation_job.run(__doc__, "lowrank.encoder_evaluation:evaluate", load))
