"""Keep the last run as a reference: scores, slopes, verdicts, time and size."""

import os
import platform
from pathlib import Path

from lowrank import cli
from lowrank.provenance import processor_name
from lowrank.reference import RUN, record_reference, record_run


def main() -> None:
    names = ("results", "output", "environment", "setup-seconds")
    arguments = cli.parser(__doc__, *names).parse_args()
    record_reference(arguments.results, arguments.output)
    record_run(
        ".snakemake/log",
        arguments.environment,
        arguments.results,
        Path(arguments.output, RUN),
        device=processor_name(),
        cores=os.cpu_count(),
        platform=platform.platform(),
        setup_seconds=float(arguments.setup_seconds),
    )


if __name__ == "__main__":
    cli.run(main)
