"""/openapi.json as it is made from operations."""

import re
import typing
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from pydantic import BaseModel, ConfigDict
from typing_extensions import TypedDict

from libs.common.contracts.exports import MEDIA_TYPES
from libs.common.contracts.moments import WRITTEN
from services.gateway.http.openapi import Document, document
from services.gateway.http.openapi_tags import TAGS
from services.gateway.http.operations import FILE_TYPES, NO_CONTENT, Answer, Operation
from services.gateway.identity.scopes import Scope
from services.gateway.problems import Conflict
from services.gateway.routes import OPERATIONS
from services.ocr.assembly import MEDIA_TYPES as PARTS
from services.ocr.handler import PAGE_PARTS

API = document(OPERATIONS)
EVERY = [(path, method) for path, methods in API["paths"].items() for method in methods]


def test_no_name_is_taken_in_the_clients_that_are_generated() -> None:
    """They write `templates = Templates(templates=templates)`, and import names of `typing` beside our own."""
    for name, schema in API["components"]["schemas"].items():
        variable = re.sub("(?<!^)(?=[A-Z])", "_", name).lower()
        assert schema.get("properties", {}).get(variable, {}).get("type") != "array", name
        assert not hasattr(typing, name), name


class Question(BaseModel):
    """A body."""

    model_config = ConfigDict(extra="forbid")

    text: str


class Wanted(BaseModel):
    """A query."""

    after: int | None = None
    limit: int


class Found(TypedDict):
    """A document."""

    text: str


async def ask(_request: object) -> object:
    """Ask <something>.

    And more of it.
    """
    return None


def made(**more: Any) -> Document:
    """The description of one operation."""
    settings = {"scope": Scope.JOBS_READ, "answers": {200: Answer(Found)}} | more
    path = settings.pop("path", "/v1/questions")
    one = Operation(method="POST", path=path, endpoint=ask, **settings)  # type: ignore[arg-type]
    described: Document = document([one])["paths"][path]["post"]
    return described


def test_every_operation_is_there_once_and_names_itself() -> None:
    assert {(path, method.upper()) for path, method in EVERY} == {(one.path, one.method) for one in OPERATIONS}
    names = [API["paths"][path][method]["operationId"] for path, method in EVERY]
    assert len(set(names)) == len(names) == len(OPERATIONS)


def test_every_group_of_operations_says_what_it_is_about() -> None:
    named = {tag for path, method in EVERY for tag in API["paths"][path][method]["tags"]}
    assert {tag["name"] for tag in API["tags"]} == named == set(TAGS)


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_every_reference_leads_somewhere() -> None:
    known = {f"#/components/{kind}/{name}" for kind in ("schemas", "headers") for name in API["components"][kind]}
    assert references(API) <= known
    assert known - references(API) == set(), "nothing is there in vain"


@pytest.mark.parametrize("name", sorted(API["components"]["schemas"]))
def test_every_schema_is_one_and_is_closed(name: str) -> None:
    schema = API["components"]["schemas"][name]
    assert jsonschema_rs.meta.is_valid(schema)
    if "properties" in schema:
        assert schema["additionalProperties"] is False


def test_the_docstring_is_the_description() -> None:
    described = made(limits=("api", "search"))
    assert described["summary"] == "Ask <something>."
    assert described["description"] == "And more of it. Needs the scope `jobs:read`. Limits: api, search."
    open_to_all = made(scope=None, limits=())
    assert open_to_all["description"] == "And more of it."
    assert open_to_all["security"] == []
    assert "security" not in described


def test_what_can_go_wrong_is_told_and_nothing_else() -> None:
    plain = {"200", "401", "403", "429", "500", "503"}
    assert set(made()["responses"]) == plain
    assert set(made(scope=None)["responses"]) == plain - {"401", "403"}
    assert set(made(query=Wanted)["responses"]) == plain | {"400", "422"}
    assert set(made(body=Question, problems=(Conflict,))["responses"]) == plain | {
        *("400", "408", "409", "413", "415", "422")
    }
    put_off = made()["responses"]["503"]
    assert "Retry-After" in put_off["headers"]
    examples = put_off["content"]["application/problem+json"]["examples"]
    assert set(examples) == {"DeadlineExceeded", "Overloaded", "ServiceUnavailable"}
    problem = {"$ref": "#/components/schemas/Problem", "components": API["components"]}
    assert all(jsonschema_rs.is_valid(problem, example["value"]) for example in examples.values())
    wrong_field = {"errors": [{"field": "body.x", "pointer": "/x", "code": "not_allowed", "message": "No."}]}
    assert jsonschema_rs.is_valid(problem, examples["Overloaded"]["value"] | wrong_field)
    assert not jsonschema_rs.is_valid(problem, examples["Overloaded"]["value"] | {"errors": ["body.x"]})


def test_a_query_has_no_null_and_says_what_it_needs() -> None:
    after, limit = made(query=Wanted)["parameters"]
    assert (after["name"], after["in"], after["required"], after["schema"]["type"]) == (
        "after", "query", False, "integer",
    )  # fmt: skip
    assert "anyOf" not in after["schema"]
    assert (limit["name"], limit["required"]) == ("limit", True)


@pytest.mark.parametrize(
    ("path", "good", "bad"),
    [
        ("/v1/jobs/{id}", "job_" + "0" * 32, "job_" + "0" * 31),
        ("/v1/jobs/{id}", "job_" + "a" * 32, "schedule_" + "a" * 32),
        ("/v1/schedules/{id}", "schedule_" + "0" * 32, "job_" + "0" * 32),
        ("/v1/templates/{name}", "tides", "Tides!"),
        ("/v1/deadlines/{name}", "tender:7", "-tender"),
        ("/v1/queues/{name}", "ocr", "cook"),
        ("/v1/suppressions/{address}", "a@b.test", ""),
        ("/v1/event-types/{name}", "shop.apply", "Apply"),
        ("/v1/subjects/{subject}", "team/7", "x" * 201),
    ],
)
def test_what_stands_in_a_path_is_described(path: str, good: str, bad: str) -> None:
    (parameter,) = made(path=path)["parameters"]
    assert (parameter["in"], parameter["required"]) == ("path", True)
    assert jsonschema_rs.is_valid(parameter["schema"], good)
    assert not jsonschema_rs.is_valid(parameter["schema"], bad)


def test_a_body_has_the_media_types_that_are_taken() -> None:
    content = made(body=Question, other_bodies={"application/x-lines": None, "text/x": Wanted})["requestBody"][
        "content"
    ]
    assert content["application/json"]["schema"]["$ref"].endswith("/Question")
    assert content["application/x-lines"] == {"schema": {"type": "string"}}
    assert content["text/x"]["schema"]["$ref"].endswith("/Wanted")


def test_answers_without_a_document_have_no_content() -> None:
    answers = made(answers={200: Answer(Found, headers=("ETag",)), 204: NO_CONTENT})["responses"]
    assert answers["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/Found")
    assert set(answers["200"]["headers"]) == {"ETag", "X-Request-Id", "RateLimit", "RateLimit-Policy"}
    assert "content" not in answers["204"]


def test_every_field_and_parameter_says_what_it_means() -> None:
    fields = {
        f"{name}.{field}": schema.get("description")
        for name, whole in API["components"]["schemas"].items()
        for field, schema in whole.get("properties", {}).items()
    }
    parameters = {
        f"{method} {path} {one['name']}": one.get("description")
        for path, method in EVERY
        for one in API["paths"][path][method]["parameters"]
    }
    assert len(fields) > 300
    assert [place for place, words in (fields | parameters).items() if not words] == []


def everything(value: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object in the document, and where it is."""
    if isinstance(value, dict):
        yield path, value
    for key, inner in (
        value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
    ):
        yield from everything(inner, f"{path}/{key}")


GIVEN_BACK = {"SavedFilter"}
"""Schemas of what callers say, which answers repeat. They take any time."""


def schemas_of_answers() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema that an answer may have, with those that it is made of."""
    waiting = [API["paths"][path][method]["responses"] for path, method in EVERY]
    seen: set[str] = set()
    while waiting:
        found = waiting.pop()
        yield from everything(found)
        new = references(found) - seen
        seen |= new
        names = {name.rpartition("/")[2] for name in new if "/schemas/" in name} - GIVEN_BACK
        waiting += [API["components"]["schemas"][name] for name in names]


def test_every_time_in_an_answer_is_of_the_one_type() -> None:
    times = [schema for _, schema in schemas_of_answers() if schema.get("format") == "date-time"]
    assert len(times) > 30
    assert [schema for schema in times if schema.get("pattern") != WRITTEN] == []


def test_generators_of_clients_find_nothing_that_they_cannot_tell_apart() -> None:
    for path, found in everything(API):
        assert "oneOf" not in found or "discriminator" in found, path
        assert "*/*" not in found, path
        if "/schemas/" in path or path.endswith("/schema"):
            assert found.get("default", "") is not None, path
        if "properties" in found and re.fullmatch("/components/schemas/[^/]+", path):
            assert "anyOf" not in found, path


def test_every_answer_declares_its_header_fields() -> None:
    for path, method in EVERY:
        for status, answer in API["paths"][path][method]["responses"].items():
            assert {"X-Request-Id", "RateLimit"} <= answer["headers"].keys(), (path, method, status)
            assert ("Retry-After" in answer["headers"]) == (status in ("429", "503"))
    created = API["paths"]["/v1/ocr"]["post"]["responses"]["202"]["headers"]
    assert {"Location", "Idempotency-Replayed", "Preference-Applied"} <= created.keys()


def test_what_files_may_be_is_declared() -> None:
    made = {kind.partition(";")[0] for kind in (*MEDIA_TYPES.values(), *PAGE_PARTS.values(), *PARTS.values())}
    assert made <= set(FILE_TYPES)


def test_the_server_is_where_the_document_is_or_where_the_setting_says() -> None:
    assert API["servers"] == [{"url": "."}]
    assert document(OPERATIONS, "https://api.example.com/argosy")["servers"] == [
        {"url": "https://api.example.com/argosy"}
    ]
