"""Set a run beside a reference, and name what lies outside the allowed variation."""

from lowrank.base import cli
from lowrank.claims.comparison import compare


def main() -> None:
    arguments = cli.parser(__doc__, "results", "reference").parse_args()
    made = compare(arguments.results, arguments.reference)
    for line in made.outside:
        print(f"outside: {line}")
    for line in made.noted:
        print(f"changed: {line}")
    print(f"{made.compared} numbers compared, {len(made.outside)} outside the allowed variation")
    raise SystemExit(bool(made.outside))


if __name__ == "__main__":
    cli.run(main)
