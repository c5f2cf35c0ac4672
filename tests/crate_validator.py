"""Check a research object crate with roc-validator, without a network.

It runs in the environment of `tests/validators.txt`, and prints what it finds as JSON. The context
of RO-Crate, which the validator would ask the network for, is read from a file.
"""

import io
import json
import sys
import urllib.request
import urllib.response
from email.message import Message
from pathlib import Path

import requests
from rocrate_validator import services
from rocrate_validator.utils.http import HttpRequester

JSON_LD = "application/ld+json"
BIOSCHEMAS = "https://bioschemas.org"
OF_1_1 = {
    "ComputationalWorkflow": f"{BIOSCHEMAS}/ComputationalWorkflow",
    "FormalParameter": f"{BIOSCHEMAS}/FormalParameter",
    "input": f"{BIOSCHEMAS}/ComputationalWorkflow#input",
    "output": f"{BIOSCHEMAS}/ComputationalWorkflow#output",
}
"""Terms that mean something else in version 1.1 of the context than in the kept, later one."""


class Kept(urllib.request.BaseHandler):
    """Answers each request of urllib with the kept context."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def https_open(self, request: urllib.request.Request) -> urllib.response.addinfourl:
        headers = Message()
        headers["Content-Type"] = JSON_LD
        body = io.BytesIO(self.content)
        return urllib.response.addinfourl(body, headers, request.full_url, 200)


def main(context: str, crate: str, profile: str, severity: str) -> None:
    kept = json.loads(Path(context).read_bytes())
    kept["@context"] |= OF_1_1
    content = json.dumps(kept).encode()

    def get(_: HttpRequester, url: str, **__: object) -> requests.Response:
        answer = requests.Response()
        answer.status_code, answer._content, answer.url = 200, content, url
        answer.headers["Content-Type"] = JSON_LD
        return answer

    HttpRequester.get = get
    urllib.request.install_opener(urllib.request.build_opener(Kept(content)))
    settings = services.ValidationSettings(
        rocrate_uri=crate,
        profile_identifier=profile,
        requirement_severity=services.Severity[severity],
    )
    result = services.validate(settings)
    issues = [
        {"check": issue.check.identifier, "entity": issue.violatingEntity, "says": issue.message}
        for issue in result.get_issues()
    ]
    print(json.dumps(issues))


if __name__ == "__main__":
    main(*sys.argv[1:])
