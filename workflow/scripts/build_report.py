"""Compile the report from the files that it reads."""

from lowrank.base import cli
from lowrank.paper.document import build_document


def main() -> None:
    arguments = cli.parser(__doc__, "template", "output", inputs="JSON").parse_args()
    build_document(arguments.template, arguments.inputs, arguments.output)


if __name__ == "__main__":
    cli.run(main)
