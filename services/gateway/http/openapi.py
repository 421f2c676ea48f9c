"""/openapi.json (OpenAPI 3.1), generated from the operations, and /docs, the same as a page for people."""

import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from inspect import getdoc
from string import Template
from typing import Any

import orjson
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from libs.common.contracts.analytics import EVENT_NAME, SUBJECT_AT_MOST
from libs.common.contracts.mail import DEADLINE_NAME, TEMPLATE_NAME
from libs.common.contracts.searches import SEARCH_NAME
from libs.common.contracts.services import QUEUES
from libs.common.contracts.sync import SOURCE_NAME
from services.gateway import problems as p
from services.gateway.http import json_budgets
from services.gateway.http.idempotency import IDEMPOTENCY_KEY
from services.gateway.http.operations import Operation
from services.gateway.http.schemas import InvalidField
from services.gateway.http.state import state_of

Document = dict[str, Any]

ALWAYS = (p.Overloaded, p.InternalError, p.LimitExceeded, p.ServiceUnavailable, p.DeadlineExceeded)
WITH_A_SCOPE = (p.Unauthenticated, p.Forbidden)
WITH_A_BODY = (p.BadRequest, p.RequestTimeout, p.TooLarge, p.UnsupportedMediaType, p.Invalid)
WITH_A_QUERY = (p.BadRequest, p.Invalid)

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
        "description": "wait=N: return the finished job if it ends within N seconds, at most 60 (RFC 7240).",
        "schema": {"type": "string"},
        "example": "wait=30",
    },
}
_PATH_IDS = {"jobs": "job", "mail": "job", "replays": "replay", "schedules": "schedule", "opportunities": "opp"}
_PROBLEM: Document = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/InvalidField"}},
        "violated-policies": {"type": "array", "items": {"type": "string"}},
        "max_bytes": {"type": "integer"},
    },
    "additionalProperties": False,
}


def document(operations: Sequence[Operation]) -> Document:
    """The whole API as an OpenAPI document."""
    types = [t for operation in operations for t in _types(operation)]
    adapters = {_name(t): TypeAdapter(t) for t in [*types, InvalidField]}
    # One mode for all, or what stands in a request and in an answer would be two schemas.
    inputs: list[Any] = [(name, "validation", adapter) for name, adapter in adapters.items()]
    references, definitions = TypeAdapter.json_schemas(inputs, ref_template="#/components/schemas/{model}")
    named = {name: schema for (name, _), schema in references.items()}
    schemas = {name: _closed(schema) for name, schema in definitions.get("$defs", {}).items()}
    paths: dict[str, Document] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, named)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Argosy",
            "version": "1",
            "description": "Submit slow work, get a job, follow it. Errors are application/problem+json.",
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Problem": _PROBLEM},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key or a token."}
            },
        },
    }


async def show_openapi(request: Request) -> Response:
    """The API as an OpenAPI document."""
    return Response(
        state_of(request).openapi, media_type="application/json", headers={"Cache-Control": "max-age=300"}
    )


async def show_docs(request: Request) -> Response:
    """The API as an HTML page."""
    headers = {
        "Cache-Control": "max-age=300",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    }
    return Response(state_of(request).docs, media_type="text/html", headers=headers)


def _types(operation: Operation) -> Iterable[Any]:
    bodies = (operation.body, operation.multipart, *operation.other_bodies.values())
    yield from (t for t in (*bodies, operation.query) if t is not None)
    yield from (answer.document for answer in operation.answers.values() if answer.document is not None)


def _name(type_: Any) -> str:
    return getattr(type_, "__name__", None) or str(type_)


def _closed(schema: Document) -> Document:
    """Add that the schema allows no other fields than it names. A default of null says no more than `required`."""
    if "properties" not in schema:
        return schema
    properties = {
        name: {key: value for key, value in field.items() if key != "default" or value is not None}
        for name, field in schema["properties"].items()
    }
    return {"additionalProperties": False, **schema, "properties": properties}


def _operation(operation: Operation, schemas: dict[str, Document]) -> Document:
    summary, _, rest = (getdoc(operation.endpoint) or "").partition("\n")
    described: Document = {
        "operationId": operation.endpoint.__name__,
        "summary": summary,
        "description": _described(operation, rest.strip()),
        "tags": [operation.path.split("/")[2]],
        "parameters": [*_path_parameters(operation.path), *_query(operation, schemas), *_headers(operation)],
        "responses": {**_answers(operation, schemas), **_problems(operation)},
    }
    if operation.scope is None:
        described["security"] = []
    if operation.body is not None:
        content = {"application/json": {"schema": schemas[_name(operation.body)]}}
        for media_type, model in operation.other_bodies.items():
            content[media_type] = {} if model is None else {"schema": schemas[_name(model)]}
        described["requestBody"] = {"description": json_budgets.WORDS, "required": True, "content": content}
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
        found.append({"name": name, "in": "path", "required": True, "schema": schema})
    return found


def _query(operation: Operation, schemas: dict[str, Document]) -> list[Document]:
    if operation.query is None:
        return []
    schema = operation.query.model_json_schema(ref_template="#/components/schemas/{model}")
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _never_null(field)}
        for name, field in schema["properties"].items()
    ]


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
                "options": schemas[_name(operation.multipart)],
            },
            "additionalProperties": False,
        },
        "encoding": {"options": {"contentType": "application/json"}},
    }


def _answers(operation: Operation, schemas: dict[str, Document]) -> Document:
    answers: Document = {}
    for status, answer in operation.answers.items():
        described: Document = {"description": _STATUS.get(status, "Done.")}
        if answer.media_type is not None:
            shown = {} if answer.document is None else {"schema": schemas[_name(answer.document)]}
            described["content"] = {answer.media_type: shown}
        described["headers"] = {name: {"schema": {"type": "string"}} for name in answer.headers}
        answers[str(status)] = described
    return answers


def _problems(operation: Operation) -> Document:
    kinds: list[type[p.Problem]] = [*ALWAYS, *operation.problems]
    kinds += WITH_A_SCOPE if operation.scope is not None else (p.Unauthenticated,) if operation.body else ()
    kinds += WITH_A_BODY if operation.reads else WITH_A_QUERY if operation.query else ()
    kinds += (p.BadRequest, p.Invalid) if operation.headers and not operation.reads else ()
    answers: dict[str, Document] = {}
    for kind in sorted(set(kinds), key=lambda kind: (kind.status, kind.__name__)):
        example = {"type": p.problem_type(kind), "title": kind.title, "status": kind.status, "detail": str(kind())}
        known = answers.setdefault(str(kind.status), {"description": kind.title, "content": {}})
        media = known["content"].setdefault(
            "application/problem+json", {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}
        )
        media["examples"][kind.__name__] = {"value": example}
        if kind.status in (429, 503):
            known["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return answers


_STATUS = {
    200: "Success.",
    201: "Created.",
    202: "Accepted: it is stored and will be carried out.",
    204: "Done; there is no content.",
    206: "The requested range.",
    304: "Not modified.",
}

_PAGE = Template(resources.files(__package__).joinpath("docs.html").read_text())


def page(api: Document) -> str:
    """The OpenAPI document as an HTML page without scripts."""
    parts = []
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            parts.append(_section(method.upper(), path, operation))
    schemas = "".join(
        f"<details><summary><code>{escape(name)}</code></summary><pre>{_pretty(schema)}</pre></details>"
        for name, schema in sorted(api["components"]["schemas"].items())
    )
    return _PAGE.substitute(
        operations="".join(parts), schemas=schemas, description=escape(api["info"]["description"])
    )


def _section(method: str, path: str, operation: Document) -> str:
    parts = {
        "parameters": operation["parameters"],
        "body": operation.get("requestBody"),
        "answers": operation["responses"],
    }
    details = "".join(
        f"<details><summary>{name}</summary><pre>{_pretty(value)}</pre></details>"
        for name, value in parts.items()
        if value
    )
    return (
        f"<section><h2><b>{method}</b> <code>{escape(path)}</code></h2>"
        f"<p>{escape(operation['summary'])} {escape(operation['description'])}</p>{details}</section>"
    )


def _pretty(value: Any) -> str:
    return escape(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
