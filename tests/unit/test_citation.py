"""The two files by which archives and people cite the workflow: well-formed, and of one mind."""

import json
import tomllib
from pathlib import Path

import jsonschema
import yaml

ROOT = Path(__file__).parents[2]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
ZENODO = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))

TEXT = {"type": "string", "minLength": 1}
RELATIONS = (
    *("isCitedBy", "cites", "isSupplementTo", "isSupplementedBy", "isContinuedBy", "continues"),
    *("isDescribedBy", "describes", "hasMetadata", "isMetadataFor", "isNewVersionOf"),
    *("isPreviousVersionOf", "isPartOf", "hasPart", "isReferencedBy", "references"),
    *("isDocumentedBy", "documents", "isCompiledBy", "compiles", "isVariantFormOf"),
    *("isOriginalFormof", "isIdenticalTo", "isAlternateIdentifier", "isReviewedBy", "reviews"),
    *("isDerivedFrom", "isSourceOf", "requires", "isRequiredBy", "isObsoletedBy", "obsoletes"),
)
METADATA = {
    "type": "object",
    "required": ["title", "upload_type", "description", "creators", "access_right", "license"],
    "additionalProperties": False,
    "properties": {
        "title": TEXT,
        "upload_type": {"const": "software"},
        "description": TEXT,
        "version": TEXT,
        "license": TEXT,
        "access_right": {"enum": ["open", "embargoed", "restricted", "closed"]},
        "creators": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["name"],
                "additionalProperties": False,
                "properties": dict.fromkeys(("name", "affiliation", "orcid", "gnd"), TEXT),
            },
        },
        "keywords": {"type": "array", "items": TEXT},
        "related_identifiers": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["identifier", "relation"],
                "additionalProperties": False,
                "properties": {
                    "identifier": TEXT,
                    "relation": {"enum": RELATIONS},
                    "scheme": {"enum": ["doi", "arxiv", "url", "isbn", "swh"]},
                    "resource_type": {"pattern": "^(publication-[a-z]+|software|dataset)$"},
                },
            },
        },
    },
}
"""The fields of Zenodo's metadata of a deposit, as far as software needs them."""


def test_zenodo_takes_its_metadata():
    jsonschema.validate(json.loads(json.dumps(ZENODO)), json.loads(json.dumps(METADATA)))


def test_both_files_and_the_package_say_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert ZENODO["title"] == CITATION["title"]
    assert ZENODO["version"] == CITATION["version"] == project["version"]
    assert ZENODO["license"] == CITATION["license"] == project["license"]
    assert [entry["name"] for entry in ZENODO["creators"]] == [
        entry.get("name") or f"{entry['family-names']}, {entry['given-names']}"
        for entry in CITATION["authors"]
    ]


def test_both_files_name_the_works_that_are_reproduced():
    cited = {
        *(entry["url"] for entry in CITATION["references"] if "url" in entry),
        *(
            identifier["value"]
            for entry in CITATION["references"]
            for identifier in entry.get("identifiers", ())
        ),
    }
    assert {entry["identifier"] for entry in ZENODO["related_identifiers"]} == cited
