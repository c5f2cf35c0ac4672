"""Walk a dense model over a calibration set and write the moments of its modules' inputs."""

from lowrank.assets.calibration import read_calibration
from lowrank.base import cli
from lowrank.decompose.walk import gather_moments
from lowrank.running.devices import lease
from lowrank.space.architecture import Architecture


def main() -> None:
    names = ("weights", "calibration", "dtype", "device", "output")
    parser = cli.parser(__doc__, *names, architecture="JSON")
    parser.add_argument("--gpus", type=int, default=1, help="how many to lease on `cuda`")
    arguments = parser.parse_args()
    with lease(arguments.device, arguments.gpus):
        gather_moments(
            arguments.weights,
            Architecture.from_config(arguments.architecture),
            read_calibration(arguments.calibration),
            arguments.output,
            arguments.dtype,
            arguments.device,
        )


if __name__ == "__main__":
    cli.run(main)
