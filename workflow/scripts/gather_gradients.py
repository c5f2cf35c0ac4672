"""Walk a dense model to its loss and back, and write the saliences of its modules' inputs."""

from lowrank.assets.calibration import read_calibration
from lowrank.base import cli
from lowrank.decompose.gradients import gather_gradients
from lowrank.running.devices import lease
from lowrank.space.architecture import Architecture


def main() -> None:
    names = ("weights", "calibration", "device", "output")
    parser = cli.parser(__doc__, *names, architecture="JSON")
    parser.add_argument("--gpus", type=int, default=1, help="how many to lease on `cuda`")
    arguments = parser.parse_args()
    with lease(arguments.device, arguments.gpus):
        gather_gradients(
            arguments.weights,
            Architecture.from_config(arguments.architecture),
            read_calibration(arguments.calibration),
            arguments.output,
            arguments.device,
        )


if __name__ == "__main__":
    cli.run(main)
