"""Factor one configuration behind its own compressed modules and write the compressed model."""

from lowrank.assets.calibration import read_calibration
from lowrank.base import cli
from lowrank.decompose.compressed import write_compressed
from lowrank.decompose.sequential import sequential_cuts
from lowrank.running.devices import lease
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition


def main() -> None:
    names = ("model", "weights", "base-manifest", "calibration", "decomposition")
    modules = "JSON: ranks by layer and tensor, where the name holds their digest; else null"
    parser = cli.parser(
        __doc__, *names, "dtype", "device", "output", architecture="JSON", modules=modules
    )
    parser.add_argument("--gpus", type=int, default=1, help="how many to lease on `cuda`")
    arguments = parser.parse_args()
    architecture = Architecture.from_config(arguments.architecture)
    decomposition = Decomposition.from_name(
        architecture, arguments.decomposition, arguments.modules
    )
    with lease(arguments.device, arguments.gpus):
        cuts = sequential_cuts(
            architecture,
            decomposition,
            arguments.weights,
            read_calibration(arguments.calibration),
            arguments.dtype,
            arguments.device,
        )
        write_compressed(
            architecture,
            arguments.model,
            arguments.base_manifest,
            decomposition,
            arguments.output,
            cuts,
        )


if __name__ == "__main__":
    cli.run(main)
