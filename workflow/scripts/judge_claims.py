"""Judge the claims of the thesis on the results of a run, of others and of kept runs."""

from lowrank.base import cli
from lowrank.base.files import read_json, write_text
from lowrank.claims.kept import load_kept
from lowrank.claims.ledger import judge_claims
from lowrank.claims.rendering import as_details, at_a_glance
from lowrank.claims.scopes import load_scope


def main() -> None:
    names = ("ledger", "text", "details")
    parser = cli.parser(__doc__, *names, claims="JSON pairs", scopes="JSON", figures="JSON")
    arguments = parser.parse_args()
    scopes = [
        load_scope(**entry) if "models" in entry else load_kept(**entry)
        for entry in arguments.scopes
    ]
    judge_claims(dict(arguments.claims), scopes, arguments.figures, arguments.ledger)
    ledger = read_json(arguments.ledger)
    details, lines = as_details(ledger)
    write_text(arguments.details, details)
    write_text(arguments.text, at_a_glance(ledger, arguments.details, lines))


if __name__ == "__main__":
    cli.run(main)
