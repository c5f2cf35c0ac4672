"""Judge the claims of the thesis on the results of a run."""

from lowrank.base import cli
from lowrank.base.files import read_json, write_text
from lowrank.claims.evidence import load_evidence
from lowrank.claims.ledger import as_text, judge_claims


def main() -> None:
    names = ("design-space", "ledger", "text")
    parser = cli.parser(__doc__, *names, claims="JSON pairs", models="JSON", figures="JSON")
    arguments = parser.parse_args()
    evidence, scopes = load_evidence(arguments.models, arguments.design_space)
    claims = dict(arguments.claims)
    judge_claims(claims, evidence, scopes, arguments.figures, arguments.ledger)
    write_text(arguments.text, as_text(read_json(arguments.ledger)))


if __name__ == "__main__":
    cli.run(main)
