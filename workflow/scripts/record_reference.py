"""Keep the last run as a reference: scores, slopes, verdicts, pictures, time and size."""

import os
import platform
from pathlib import Path

from lowrank.base import cli
from lowrank.base.provenance import processor_name
from lowrank.claims.comparison import RUN, record_reference, record_run
from lowrank.figures.pictures import keep_pictures


def main() -> None:
    parser = cli.parser(__doc__, "results", "output", "environment")
    parser.add_argument("--pictures", nargs="*", default=[], help="PNGs of figures to keep")
    arguments = parser.parse_args()
    results, environment = Path(arguments.results), Path(arguments.environment)
    record_reference(results, arguments.output)
    pictures = {Path(picture).stem: picture for picture in arguments.pictures}
    keep_pictures(pictures, Path(arguments.output, "figures"))
    record_run(
        ".snakemake/log",
        {"set_up": environment / ".runtime", "tests": environment / ".tests"},
        {
            "environment": environment,
            Path(arguments.output).name: results,
            **{scale: results / scale for scale in ("smoke", "ci")},
        },
        {
            "device": processor_name(),
            "cores": os.cpu_count(),
            "platform": platform.platform(),
        },
        Path(arguments.output, RUN),
    )


if __name__ == "__main__":
    cli.run(main)
