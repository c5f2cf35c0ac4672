"""Say what this machine can run, what it cannot, and what to do about it."""

import os
from pathlib import Path

from lowrank import cli
from lowrank.assets import HUB_VARIABLE
from lowrank.doctor import BROKEN, examine
from lowrank.files import read_yaml


def main() -> None:
    config = Path(cli.parser(__doc__, "config").parse_args().config)
    chosen = read_yaml(config)
    os.environ.setdefault(HUB_VARIABLE, "1" if chosen.get("hub", True) else "0")
    folder = config.parent / "benchmarks"
    benchmarks = {name: read_yaml(folder / f"{name}.yaml") for name in chosen["benchmarks"]}
    findings = examine("requirements.lock", benchmarks)
    print(*findings, sep="\n")
    raise SystemExit(any(finding.state == BROKEN for finding in findings))


if __name__ == "__main__":
    cli.run(main)
