"""What fields mean: every word is used, and what stands beside a field is told."""

from typing import Any

from services.gateway.http.openapi import document
from services.gateway.http.openapi_words import FIELDS, HEADERS, describe
from services.gateway.routes import OPERATIONS

API = document(OPERATIONS)
SCHEMAS: dict[str, Any] = API["components"]["schemas"]


def test_no_words_are_left_over() -> None:
    names = {one.query.__name__: one.query for one in OPERATIONS if one.query is not None}
    fields = {name: set(schema.get("properties", {})) for name, schema in SCHEMAS.items()}
    fields |= {name: set(query.model_json_schema()["properties"]) for name, query in names.items()}
    known = set().union(*fields.values()) | {f"{name}.{field}" for name in fields for field in fields[name]}
    assert sorted(set(FIELDS) - known) == []


def test_the_docstring_of_a_field_is_its_description() -> None:
    told = SCHEMAS["Artifact"]["properties"]["filename"]["description"]
    assert told.startswith("What it is saved as: that of a document")
    inherited = SCHEMAS["OcrSubmission"]["properties"]["dpi"]["description"]
    assert inherited.startswith("Dots per inch")
    assert "schema" in SCHEMAS["NewEventType"]["properties"], "an alias stands for the name"
    assert SCHEMAS["NewEventType"]["properties"]["schema"]["description"].startswith("A JSON Schema")


def test_what_is_described_already_stays_so_and_unknown_names_are_left_alone() -> None:
    given = {"limit": {"description": "Mine."}, "nobody_knows": {"type": "string"}}
    assert describe("Nothing", given) == given


def test_every_header_field_of_an_answer_is_in_words() -> None:
    assert API["components"]["headers"].keys() == HEADERS.keys()
    assert all(header["description"] and header["schema"] for header in API["components"]["headers"].values())
