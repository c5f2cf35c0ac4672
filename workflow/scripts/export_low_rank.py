"""Write a configuration as a low-rank checkpoint that transformers loads after `import lowrank`."""

from lowrank.base import cli
from lowrank.decompose.export_low_rank import export_low_rank


def main() -> None:
    parser = cli.parser(__doc__, "weights", "compressed", "dtype", "output")
    parser.add_argument("--evaluation", help="the configuration's results, if they are there")
    parser.add_argument("--dense-evaluation", help="those of the dense model")
    arguments = parser.parse_args()
    export_low_rank(
        arguments.weights,
        arguments.compressed,
        arguments.dtype,
        arguments.output,
        arguments.evaluation,
        arguments.dense_evaluation,
    )


if __name__ == "__main__":
    cli.run(main)
