"""Measure a study on a model's shapes with random weights; needs no Snakemake."""

from pathlib import Path

from lowrank.base import cli
from lowrank.base.files import read_yaml
from lowrank.base.provenance import require_packages
from lowrank.project.studies import Model, with_rank_files
from lowrank.running.devices import lease
from lowrank.space.architecture import Architecture

NEEDED = {
    "torch": "2.8",
    "transformers": "4.56",
    "safetensors": "0.4",
    "nvidia-ml-py": "12",
    "scipy": "1.10",
}
"""What has the functions that are called; the workflow itself pins newer ones."""


def main() -> None:
    parser = cli.parser(__doc__, "config", "folder")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    arguments = parser.parse_args()
    require_packages(NEEDED)
    settings = read_yaml(arguments.config) | {"device": arguments.device}
    name, root = settings.pop("model"), Path(arguments.config).parent
    entry = read_yaml(root / "models" / f"{name}.yaml")
    architecture = Architecture.from_config(entry["architecture"])
    model = Model(name, entry["label"], entry["sources"], architecture)
    schema = read_yaml(root / "schemas" / "study.schema.yaml")["properties"]
    study = {key: part["default"] for key, part in schema.items() if "default" in part}
    study |= read_yaml(root / "studies" / f"{settings.pop('study')}.yaml")
    study = with_rank_files(study, lambda file: read_yaml(root / file))
    with lease(settings["device"], settings["gpus"]):
        from lowrank.profile.gpu_reference import measure_reference, reference_folder

        folder = reference_folder(arguments.folder, settings["device"], name)
        paths = measure_reference(model, study, settings, folder)
    print(f"{len(paths)} records in {folder}")


if __name__ == "__main__":
    cli.run(main)
