"""Choose ranks a module by SVD-LLM V2's ratios, from factors that a run stored."""

from pathlib import Path

from lowrank.base import cli
from lowrank.decompose.rank_allocation import choose_ranks
from lowrank.project.registry import Registry
from lowrank.space.architecture import Architecture
from lowrank.space.methods import FORMS

SHARES = ("0.9", "0.8", "0.7", "0.6", "0.5")


def main() -> None:
    parser = cli.parser(__doc__, "folder", "model", "results", "calibration")
    parser.add_argument("--shares", nargs="+", default=SHARES, help="shares that are kept")
    arguments = parser.parse_args()
    entry = Registry(arguments.folder).entry("model", arguments.model)
    architecture = Architecture.from_config(entry["architecture"])
    made = Path(arguments.results, "models", arguments.model)
    output = Path(arguments.folder, "ranks", arguments.model)
    for form in FORMS:
        for share in arguments.shares:
            print(choose_ranks(architecture, share, form, made, arguments.calibration, output))


if __name__ == "__main__":
    cli.run(main)
