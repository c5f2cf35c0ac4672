"""Train what is left of a compressed model, and write it as a compressed model."""

import torch
from lowrank.base import cli
from lowrank.recover.job import recover
from lowrank.running.devices import lease


def main() -> None:
    names = ("weights", "compressed", "name", "device", "work", "output")
    parser = cli.parser(__doc__, *names, settings="JSON: the recovery's entry")
    parser.add_argument("--gpus", type=int, default=1, help="how many to lease on `cuda`")
    parser.add_argument("--threads", type=int, required=True, help="of the processor")
    parser.add_argument("--examples", nargs="+", required=True, help="files to train on, in order")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with lease(arguments.device, arguments.gpus):
        recover(
            arguments.weights,
            arguments.compressed,
            arguments.name,
            arguments.settings,
            arguments.examples,
            arguments.output,
            arguments.work,
            arguments.device,
        )


if __name__ == "__main__":
    cli.run(main)
