"""/openapi.json (OpenAPI 3.1), generated from the operations; docs_page.py makes a page for people of it."""

import re
from collections.abc import Iterable, Sequence
from inspect import getdoc
from typing import Any

from pydantic import TypeAdapter

from libs.common.contracts.analytics import EVENT_NAME, SUBJECT_AT_MOST
from libs.common.contracts.mail import DEADLINE_NAME, TEMPLATE_NAME
from libs.common.contracts.searches import SEARCH_NAME
from libs.common.contracts.services import QUEUES
from libs.common.contracts.sync import SOURCE_NAME
from libs.common.errors import code_of
from services.gateway import problems as p
from services.gateway.http import json_budgets
from services.gateway.http.idempotency import IDEMPOTENCY_KEY
from services.gateway.http.openapi_tags import TAGS
from services.gateway.http.openapi_words import HEADERS, PATHS, describe, header
from services.gateway.http.operations import Answer, Operation
from services.gateway.http.schemas import InvalidField

Document = dict[str, Any]

ALWAYS = (p.Overloaded, p.InternalError, p.LimitExceeded, p.ServiceUnavailable, p.DeadlineExceeded)
WITH_A_SCOPE = (p.Unauthenticated, p.Forbidden)
WITH_A_BODY = (p.BadRequest, p.RequestTimeout, p.TooLarge, p.UnsupportedMediaType, p.Invalid)
WITH_A_QUERY = (p.BadRequest, p.Invalid)
OF_EVERY_ANSWER = ("X-Request-Id", "RateLimit", "RateLimit-Policy")

_HEADERS: dict[str, Document] = {
    "Idempotency-Key": {
        "description": "The same request with the same key is carried out once, however often it is sent.",
        "schema": {"type": "string", "pattern": f"^{IDEMPOTENCY_KEY}$"},
        "example": "order-4711-invoice",
    },
    "Last-Event-ID": {
        "description": "The id of the last event that the caller has seen. The stream goes on after it.",
        "schema": {"type": "string"},
        "example": "running-1-0-17",
    },
    "Prefer": {
        "description": "wait=N: return the finished job if it ends within N seconds, at most 45 (RFC 7240).",
        "schema": {"type": "string"},
        "example": "wait=30",
    },
}
_PATH_IDS = {"jobs": "job", "mail": "job", "replays": "replay", "schedules": "schedule", "opportunities": "opp"}
_PROBLEM: Document = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "required": ["type", "code", "title", "status", "detail"],
    "properties": {
        "type": {
            "type": "string",
            "format": "uri",
            "description": "A registered type of problems, as `about:blank`; `code` says more.",
        },
        "code": {
            "type": "string",
            "enum": sorted(code_of(kind) for kind in p.Problem.__subclasses__()),
            "description": "What went wrong, for programs.",
        },
        "title": {"type": "string", "description": "What went wrong, in a few words; the same for each type."},
        "status": {"type": "integer", "description": "The status of the answer."},
        "detail": {"type": "string", "description": "What went wrong this time, for people."},
        "errors": {
            "type": "array",
            "items": {"$ref": "#/components/schemas/InvalidField"},
            "description": "Every wrong field, 100 at most.",
        },
        "violated-policies": {
            "type": "array",
            "items": {"type": "string"},
            "description": "The names of the limits that refused the request.",
        },
        "max_bytes": {"type": "integer", "description": "The size that the body may have, in bytes."},
        "max_values": {"type": "integer", "description": "How many values the body may have."},
        "max_depth": {"type": "integer", "description": "How deep the body may be nested."},
        "max_digits": {"type": "integer", "description": "How many characters a number may have."},
        "max_keys": {"type": "integer", "description": "How many keys the tenant may have that can be used."},
        "request_id": {"type": "string", "description": "The id of the request, as in X-Request-Id."},
        "doc_url": {
            "type": "string",
            "format": "uri-reference",
            "description": "Where this type of problem is explained.",
        },
    },
    "additionalProperties": False,
}


def document(operations: Sequence[Operation], public_url: str | None = None) -> Document:
    """The whole API as an OpenAPI document. Without PUBLIC_URL, it is beside the document, wherever that is."""
    types = [t for operation in operations for t in _types(operation)]
    adapters = {_name(t): TypeAdapter(t) for t in [*types, InvalidField]}
    # One mode for all, or what stands in a request and in an answer would be two schemas.
    inputs: list[Any] = [(name, "validation", adapter) for name, adapter in adapters.items()]
    references, definitions = TypeAdapter.json_schemas(inputs, ref_template="#/components/schemas/{model}")
    named = {name: schema for (name, _), schema in references.items()}
    schemas = {name: _completed(name, schema) for name, schema in definitions.get("$defs", {}).items()}
    paths: dict[str, Document] = {}
    tags = {_tag(operation) for operation in operations}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, named)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Argosy",
            "version": "1",
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
            "description": (
                "Submit slow work, get a job, follow it. Errors are application/problem+json. "
                "Times in answers are in UTC, with six digits of a second and Z."
            ),
        },
        "servers": [{"url": public_url or "."}],
        "tags": [{"name": name, "description": words} for name, words in TAGS.items() if name in tags],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": _used(paths, {**schemas, "Problem": _PROBLEM}),
            "headers": {name: header(name) for name in HEADERS},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key or a token."}
            },
        },
    }


def _tag(operation: Operation) -> str:
    return operation.path.split("/")[2]


def _used(paths: Document, schemas: dict[str, Document]) -> dict[str, Document]:
    """Those of `schemas` to which something leads from `paths`: queries are told as parameters."""
    used = dict[str, Document]()
    waiting: list[Any] = [paths]
    while waiting:
        value = waiting.pop()
        waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        name = str(value.get("$ref", "")).rpartition("/")[2] if isinstance(value, dict) else ""
        if name in schemas and name not in used:
            used[name] = schemas[name]
            waiting.append(schemas[name])
    return {name: used[name] for name in schemas if name in used}


def _types(operation: Operation) -> Iterable[Any]:
    bodies = (operation.body, operation.multipart, *operation.other_bodies.values())
    yield from (t for t in (*bodies, operation.query) if t is not None)
    yield from (answer.document for answer in operation.answers.values() if answer.document is not None)


def _name(type_: Any) -> str:
    return getattr(type_, "__name__", None) or str(type_)


def _completed(name: str, schema: Document) -> Document:
    """Add that the schema allows no other fields than it names, and what these mean.

    What goes together with what stands in `anyOf` within `allOf`: elsewhere, generators of clients would take it
    for types of the whole or of its fields.
    """
    if "properties" not in schema:
        return schema
    plain: Document = _for_generators(schema)
    closed = {"additionalProperties": False, **plain, "properties": describe(name, plain["properties"])}
    together = [one if "anyOf" in one else {"anyOf": [one]} for one in closed.pop("allOf", ())]
    if kinds := closed.pop("anyOf", None):
        together.append({"anyOf": kinds})
    return closed | ({"allOf": together} if together else {})


def _for_generators(value: Any, *, are_fields: bool = False) -> Any:
    """What generators and linters of others take. Arrays have `items`; no default is null or an object.

    A default of null says no more than `required`, and that of an object cannot be written by generators.
    """
    if isinstance(value, list):
        return [_for_generators(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    items: Document = {"items": {}} if value.get("type") == "array" else {}
    return items | {
        key: _for_generators(inner, are_fields=key == "properties")
        for key, inner in value.items()
        if are_fields or key != "default" or not (inner is None or isinstance(inner, dict))
    }


def _operation(operation: Operation, schemas: dict[str, Document]) -> Document:
    summary, _, rest = (getdoc(operation.endpoint) or "").partition("\n")
    described: Document = {
        "operationId": operation.endpoint.__name__,
        "summary": summary,
        "description": _described(operation, rest.strip()),
        "tags": [_tag(operation)],
        "parameters": [*_path_parameters(operation.path), *_query(operation, schemas), *_headers(operation)],
        "responses": {**_answers(operation, schemas), **_problems(operation)},
    }
    if operation.scope is None:
        described["security"] = []
    if operation.body is not None:
        content = {"application/json": {"schema": schemas[_name(operation.body)]}}
        for media_type, model in operation.other_bodies.items():
            content[media_type] = {"schema": {"type": "string"} if model is None else schemas[_name(model)]}
        required = operation.body_required
        described["requestBody"] = {"description": json_budgets.WORDS, "required": required, "content": content}
    if operation.multipart is not None:
        described["requestBody"] = {
            "required": True,
            "content": {"multipart/form-data": _multipart(operation, schemas)},
        }
    return described


def _described(operation: Operation, rest: str) -> str:
    sentences = [rest] if rest else []
    if operation.scope is not None:
        sentences.append(f"Needs the scope `{operation.scope}`.")
    if operation.limits:
        sentences.append(f"Limits: {', '.join(operation.limits)}.")
    if operation.public_limits:
        sentences.append(f"With a public key: {', '.join(operation.public_limits)}.")
    if operation.reconnect_limits:
        sentences.append(f"With Last-Event-ID: {', '.join(operation.reconnect_limits)}.")
    return " ".join(sentences)


def _path_parameters(path: str) -> list[Document]:
    found = []
    for name in re.findall(r"{(\w+)}", path):
        schema: Document = {"type": "string", "minLength": 1}
        what = _PATH_IDS.get(path.split("/")[2])
        if name == "id" and what:
            schema = {"type": "string", "pattern": f"^{what}_[0-9a-f]{{32}}$"}
        elif path.startswith("/v1/templates/"):
            schema = {"type": "string", "pattern": f"^{TEMPLATE_NAME}$"}
        elif path.startswith("/v1/event-types/"):
            schema = {"type": "string", "pattern": f"^{EVENT_NAME}$"}
        elif path.startswith("/v1/subjects/"):
            schema = {"type": "string", "minLength": 1, "maxLength": SUBJECT_AT_MOST}
        elif path.startswith("/v1/deadlines/"):
            schema = {"type": "string", "pattern": f"^{DEADLINE_NAME}$"}
        elif path.startswith("/v1/sources/"):
            schema = {"type": "string", "pattern": f"^{SOURCE_NAME}$"}
        elif path.startswith("/v1/searches/"):
            schema = {"type": "string", "pattern": f"^{SEARCH_NAME}$"}
        elif path.startswith("/v1/queues/"):
            schema = {"type": "string", "enum": list(QUEUES)}
        words = PATHS["tenant"] if path.startswith("/v1/tenants/") else PATHS[name]
        found.append({"name": name, "in": "path", "required": True, "description": words, "schema": schema})
    return found


def _query(operation: Operation, schemas: dict[str, Document]) -> list[Document]:
    if operation.query is None:
        return []
    schema = operation.query.model_json_schema(ref_template="#/components/schemas/{model}")
    required = schema.get("required", ())
    found = []
    for name, field in describe(_name(operation.query), schema["properties"]).items():
        words = {"description": field.pop("description")} if "description" in field else {}
        found.append(
            {"name": name, "in": "query", "required": name in required, **words, "schema": _never_null(field)}
        )
    return found


def _never_null(schema: Document) -> Document:
    """The schema without null: a query parameter can be left out, but it cannot be null."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
    if len(kinds) == 1:
        only: Document = kinds[0]
        return only
    return {
        name: value
        for name, value in schema.items()
        if name != "title" and (name != "default" or value is not None)
    }


def _headers(operation: Operation) -> list[Document]:
    return [{"name": name, "in": "header", "required": False, **_HEADERS[name]} for name in operation.headers]


def _multipart(operation: Operation, schemas: dict[str, Document]) -> Document:
    return {
        "schema": {
            "type": "object",
            "required": ["file"],
            "properties": {
                "file": {
                    "type": "string",
                    "format": "binary",
                    "minLength": 1,
                    "description": (
                        "PDF, PNG, JPEG, TIFF, WebP, HEIC, AVIF, GIF, BMP or JPEG 2000."
                        " Its first bytes decide the type, not its name."
                    ),
                },
                "options": {"description": "How it is read, and its job.", **schemas[_name(operation.multipart)]},
            },
            "additionalProperties": False,
        },
        "encoding": {"options": {"contentType": "application/json"}},
    }


def _answers(operation: Operation, schemas: dict[str, Document]) -> Document:
    answers: Document = {}
    for status, answer in operation.answers.items():
        described: Document = {"description": _STATUS.get(status, "Done."), "headers": _sent(*answer.headers)}
        if answer.media_types:
            described["content"] = {
                media_type: _content(media_type, answer, schemas) for media_type in answer.media_types
            }
        answers[str(status)] = described
    return answers


def _content(media_type: str, answer: Answer, schemas: dict[str, Document]) -> Document:
    if answer.document is not None:
        return {"schema": schemas[_name(answer.document)]}
    if media_type == "text/event-stream":
        return {}  # a schema would be that of an event, whose data is a text
    return {"schema": {"type": "string", **({"format": "binary"} if answer.is_file else {})}}


def _sent(*names: str) -> Document:
    """The header fields of an answer, with those of every answer."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*names, *OF_EVERY_ANSWER)}


def _problems(operation: Operation) -> Document:
    kinds: list[type[p.Problem]] = [*ALWAYS, *operation.problems]
    kinds += WITH_A_SCOPE if operation.scope is not None else (p.Unauthenticated,) if operation.body else ()
    kinds += WITH_A_BODY if operation.reads else WITH_A_QUERY if operation.query else ()
    kinds += (p.BadRequest, p.Invalid) if operation.headers and not operation.reads else ()
    answers: dict[str, Document] = {}
    for kind in sorted(set(kinds), key=lambda kind: (kind.status, kind.__name__)):
        example = {
            "type": kind.type,
            "code": code_of(kind),
            "title": kind.title,
            "status": kind.status,
            "detail": str(kind()),
            "request_id": "req_2f1c3a5e9b7d4c60",
            "doc_url": p.doc_url(kind, ""),
        }
        headers = (
            _sent("Retry-After")
            if kind.status in (429, 503)
            else _sent(*(name for name in kind.always if name in HEADERS))
        )
        known = answers.setdefault(str(kind.status), {"description": kind.title, "headers": {}, "content": {}})
        known["headers"] |= headers
        media = known["content"].setdefault(
            "application/problem+json", {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}
        )
        media["examples"][kind.__name__] = {"value": example}
    return answers


_STATUS = {
    200: "Success.",
    201: "Created.",
    202: "Accepted: it is stored and will be carried out.",
    204: "Done; there is no content.",
    206: "The requested range.",
    304: "Not modified.",
}
