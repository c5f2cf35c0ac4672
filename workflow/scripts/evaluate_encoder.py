"""Score one configuration of an encoder on one benchmark."""

from collections.abc import Callable

from lowrank.base import cli
from lowrank.evaluate import job


def load() -> Callable[..., None]:
    from lowrank.evaluate.encoder import evaluate

    return evaluate


if __name__ == "__main__":
    cli.run(lambda: job.run(__doc__, "lowrank.evaluate.encoder:evaluate", load))
