"""/docs: the OpenAPI document as a page for people, without scripts. All that one may look up has an anchor:

`#submit_ocr` is an operation, `#schema-Job` a schema, `#problem-too-large` a type of problem, to which `doc_url`
of every such answer leads.
"""

import re
from collections.abc import Iterable
from html import escape
from importlib import resources
from itertools import groupby
from string import Template
from typing import Any

import orjson

from libs.common.errors import code_of
from services.gateway import problems

Document = dict[str, Any]

_PAGE = Template(resources.files(__package__).joinpath("docs.html").read_text())
_SCHEMAS = "#/components/schemas/"


def page(api: Document) -> str:
    """The page of an OpenAPI document."""
    operations = [
        (method.upper(), path, operation)
        for path, methods in api["paths"].items()
        for method, operation in methods.items()
    ]
    operations.sort(key=lambda one: one[2]["tags"][0])  # stable, so those of a tag stay in their order
    by_tag = {tag: list(those) for tag, those in groupby(operations, key=lambda one: one[2]["tags"][0])}
    return _PAGE.substitute(
        description=escape(api["info"]["description"]),
        contents="".join(_contents(tag, those) for tag, those in by_tag.items()),
        operations="".join(_chapter(tag, those, api) for tag, those in by_tag.items()),
        problems="".join(map(_problem, _kinds())),
        schemas="".join(_schema(name, schema) for name, schema in sorted(api["components"]["schemas"].items())),
    )


def _contents(tag: str, operations: Iterable[tuple[str, str, Document]]) -> str:
    links = "".join(
        f'<li><a href="#{escape(one["operationId"])}"><b>{method}</b> {escape(path)}</a></li>'
        for method, path, one in operations
    )
    return f'<details><summary><a href="#tag-{escape(tag)}">{escape(tag)}</a></summary><ul>{links}</ul></details>'


def _chapter(tag: str, operations: Iterable[tuple[str, str, Document]], api: Document) -> str:
    schemas = api["components"]["schemas"]
    sections = "".join(_section(*one, schemas) for one in operations)
    about = next((one["description"] for one in api.get("tags", ()) if one["name"] == tag), "")
    return f'<h2 id="tag-{escape(tag)}">{escape(tag)}</h2><p>{_words(about)}</p>{sections}'


def _section(method: str, path: str, operation: Document, schemas: Document) -> str:
    name = escape(operation["operationId"])
    parts = [
        f'<section id="{name}"><h3><b>{method}</b> <code>{escape(path)}</code> <a href="#{name}">#</a></h3>',
        f"<p>{_words(operation['summary'])} {_words(operation['description'])}</p>",
        f"<pre>{escape(_request(method, path, operation, schemas))}</pre>",
        _table("Parameters", [_parameter(one) for one in operation["parameters"]]),
    ]
    if body := operation.get("requestBody"):
        parts.append(_table("Body", [_content(kind, media) for kind, media in body["content"].items()]))
    parts.append(_table("Answers", [_answer(*one) for one in sorted(operation["responses"].items())]))
    return "".join([*parts, "</section>"])


def _request(method: str, path: str, operation: Document, schemas: Document) -> str:
    """The operation as a command. Its body is the example of the schema, if there is one."""
    parts = [f'curl -X {method} "$ARGOSY_URL{path}"' if method != "GET" else f'curl "$ARGOSY_URL{path}"']
    if operation.get("security") != []:
        parts.append('-H "Authorization: Bearer $ARGOSY_KEY"')
    content = operation.get("requestBody", {}).get("content", {})
    if "multipart/form-data" in content:
        parts.append("-F file=@scan.pdf")
    elif body := content.get("application/json"):
        name = body["schema"].get("$ref", "").removeprefix(_SCHEMAS)
        example = next(iter(schemas.get(name, {}).get("examples", ())), None)
        data = "@body.json" if example is None else orjson.dumps(example).decode().replace("'", "'\\''")
        parts += ['-H "Content-Type: application/json"', f"-d '{data}'"]
    return " \\\n  ".join(parts)


def _parameter(one: Document) -> tuple[str, str, str]:
    must = ", required" if one["required"] else ""
    return (
        f"<code>{escape(one['name'])}</code>",
        f"{one['in']}{must}",
        _meaning(one.get("description"), one["schema"]),
    )


def _content(kind: str, media: Document) -> tuple[str, str]:
    return f"<code>{escape(kind)}</code>", _type(media.get("schema", {}))


def _answer(status: str, answer: Document) -> tuple[str, str, str]:
    shown = {_type(media.get("schema", {})) for media in answer.get("content", {}).values()}
    problems = answer.get("content", {}).get("application/problem+json", {}).get("examples", {})
    told = [one["value"] for one in problems.values()]
    codes = (f'<a href="{one["doc_url"].removeprefix("/docs")}"><code>{one["code"]}</code></a>' for one in told)
    return f"<code>{status}</code>", " ".join(sorted(shown)), ", ".join(codes) or _words(answer["description"])


def _schema(name: str, schema: Document) -> str:
    required = schema.get("required", ())
    rows = [
        (f"<code>{escape(field)}</code>", _type(one) + (", required" if field in required else ""),
         _meaning(one.get("description"), one))
        for field, one in schema.get("properties", {}).items()
    ]  # fmt: skip
    anchor = escape(f"schema-{name}")
    return (
        f'<section id="{anchor}"><h3><code>{escape(name)}</code> <a href="#{anchor}">#</a></h3>'
        f"<p>{_words(schema.get('description', ''))}</p>{_table('Fields', rows)}"
        f"<details><summary>JSON Schema</summary><pre>{_pretty(schema)}</pre></details></section>"
    )


def _kinds() -> list[type[problems.Problem]]:
    kinds = problems.Problem.__subclasses__()
    return sorted(kinds, key=lambda kind: (kind.status, kind.__name__))


def _problem(kind: type[problems.Problem]) -> str:
    anchor = problems.anchor(kind)
    return (
        f'<section id="{anchor}"><h3>{kind.status} {escape(kind.title)} <a href="#{anchor}">#</a></h3>'
        f"<p><code>{code_of(kind)}</code></p><p>{_words(str(kind()))}</p></section>"
    )


def _table(title: str, rows: Iterable[tuple[str, ...]]) -> str:
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><caption>{title}</caption>{lines}</table>" if lines else ""


def _words(text: str) -> str:
    """A text with what stands in backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _type(schema: Document) -> str:
    """The type of a value, with links to the schemas that it is made of."""
    if reference := schema.get("$ref"):
        name = escape(reference.removeprefix(_SCHEMAS))
        return f'<a href="#schema-{name}">{name}</a>'
    if branches := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(map(_type, branches)))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return escape(str(schema.get("format") or schema.get("type") or "anything"))


def _meaning(words: str | None, schema: Document) -> str:
    """What a value means, and which there may be."""
    said = [_words(words or "")]
    if choices := schema.get("enum"):
        said.append("One of " + ", ".join(f"<code>{escape(str(choice))}</code>" for choice in choices) + ".")
    if schema.get("default") is not None:
        said.append(f"Default: <code>{escape(orjson.dumps(schema['default']).decode())}</code>.")
    bounds = {key: schema[key] for key in _BOUNDS if key in schema}
    said += [f"{_BOUNDS[key]} {escape(str(bound))}." for key, bound in bounds.items()]
    return " ".join(filter(None, said))


_BOUNDS = {
    "minimum": "At least",
    "maximum": "At most",
    "exclusiveMinimum": "More than",
    "exclusiveMaximum": "Less than",
    "maxLength": "Characters, at most:",
    "maxItems": "Entries, at most:",
}


def _pretty(value: Any) -> str:
    return escape(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
