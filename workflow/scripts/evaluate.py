"""Score one configuration on one benchmark."""

from lowrank import cli
from lowrank.devices import lease
from lowrank.warm_start import run_warm


def main() -> None:
    names = ("weights", "compressed", "questions", "output", "samples", "scores")
    arguments = cli.parser(__doc__, *names, benchmark="JSON", settings="JSON").parse_args()
    device = arguments.settings["device"]
    call = [getattr(arguments, name) for name in names[:3]]
    call += [arguments.benchmark, arguments.settings]
    call += [getattr(arguments, name) for name in names[3:]]
    if device == "cpu" and run_warm("lowrank.evaluation:evaluate", call):
        return
    from lowrank.evaluation import evaluate  # the heavy import, where no server has it

    with lease(device):
        evaluate(*call)


if __name__ == "__main__":
    cli.run(main)
