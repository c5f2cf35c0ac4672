"""Say what this machine can run, what it cannot, and what to do about it."""

from pathlib import Path

from lowrank.base import cli
from lowrank.base.files import merge, read_yaml
from lowrank.running.doctor import BROKEN, Scale, examine

SCALES = {
    "smoke": ("make smoke", ("config", "laptop", "smoke")),
    "laptop": ("make reproduce", ("config", "laptop")),
    "paper": ("snakemake --cores all --resources gpu=…", ("config",)),
}


def main() -> None:
    folder = Path(cli.parser(__doc__, "folder").parse_args().folder)
    scales = [
        Scale(name, command, merge(read_yaml(folder / f"{file}.yaml") for file in files))
        for name, (command, files) in SCALES.items()
    ]
    findings = examine("requirements.lock", folder, scales)
    print(*findings, sep="\n")
    raise SystemExit(any(finding.state == BROKEN for finding in findings))


if __name__ == "__main__":
    cli.run(main)
