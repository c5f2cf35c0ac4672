"""Ask questions where they decide a claim, look after look, until the time has ended."""

from pathlib import Path

from lowrank.base import cli
from lowrank.base.files import merge, read_yaml
from lowrank.claims.decide import make_decisions
from lowrank.running.command import available_cores, run_workflow


def main() -> None:
    parser = cli.parser(__doc__, "folder", "cores")
    parser.add_argument("--configfiles", nargs="+", required=True, help="on top of config.yaml")
    parser.add_argument("--budget", type=float, required=True, help="minutes")
    arguments = parser.parse_args()
    folder, files = Path(arguments.folder), arguments.configfiles
    config = merge(read_yaml(path) for path in (folder / "config.yaml", *files))
    cores = available_cores() if arguments.cores == "all" else int(arguments.cores)

    def run(plan: Path, *targets: str) -> None:
        run_workflow([*files, plan], arguments.cores, targets)

    make_decisions(config, folder, run, 60 * arguments.budget, cores)


if __name__ == "__main__":
    cli.run(main)
