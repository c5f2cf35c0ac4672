"""Cut one configuration from stored factors."""

from lowrank.base import cli
from lowrank.decompose.compressed import compress
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition


def main() -> None:
    names = ("model", "base-manifest", "decomposition", "output")
    modules = "JSON: ranks by layer and tensor, where the name holds their digest; else null"
    parser = cli.parser(__doc__, *names, architecture="JSON", modules=modules)
    parser.add_argument("--layer-factors", nargs="*", default=[])
    arguments = parser.parse_args()
    architecture = Architecture.from_config(arguments.architecture)
    decomposition = Decomposition.from_name(
        architecture, arguments.decomposition, arguments.modules
    )
    compress(
        architecture,
        arguments.model,
        arguments.base_manifest,
        decomposition,
        dict(zip(decomposition.layers, arguments.layer_factors, strict=False)),
        arguments.output,
    )


if __name__ == "__main__":
    cli.run(main)
