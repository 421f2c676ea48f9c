"""/docs, as it is made from /openapi.json: all of it can be looked up, and nothing of it runs."""

import re
from html import unescape

from services.gateway.http.docs_page import page
from services.gateway.http.openapi import document
from services.gateway.http.operations import Operation
from services.gateway.problems import Problem, doc_url
from services.gateway.routes import OPERATIONS

API = document(OPERATIONS)
SHOWN = page(API)
ANCHORS = re.findall(r' id="([^"]+)"', SHOWN)


def test_every_operation_schema_and_problem_has_an_anchor() -> None:
    operations = {operation["operationId"] for methods in API["paths"].values() for operation in methods.values()}
    schemas = {f"schema-{name}" for name in API["components"]["schemas"]}
    problems = {doc_url(kind, "").removeprefix("/docs#") for kind in Problem.__subclasses__()}
    assert operations | schemas | problems <= set(ANCHORS)
    assert len(ANCHORS) == len(set(ANCHORS))


def test_every_link_on_it_leads_somewhere() -> None:
    links = set(re.findall(r'href="([^"]+)"', SHOWN))
    assert len(links) > 200
    assert {link for link in links if not link.startswith("#")} == {"openapi.json"}
    assert {link[1:] for link in links if link.startswith("#")} <= set(ANCHORS)


def test_it_says_what_fields_mean() -> None:
    job = SHOWN.partition('id="schema-Job"')[2].partition("</section>")[0]
    assert "How often it is tried before it has failed." in job
    assert '<a href="#schema-Progress">Progress</a>' in job


def test_it_shows_everything_and_runs_nothing() -> None:
    assert all(path in SHOWN for path in API["paths"])
    assert "<script" not in SHOWN


async def ask(_request: object) -> object:
    """Ask <something>."""
    return None


def test_what_is_shown_is_text() -> None:
    hostile = page(document([Operation(method="GET", path="/v1/<x>", endpoint=ask, scope=None)]))  # type: ignore[arg-type]
    assert "Ask <something>" not in hostile
    assert "Ask <something>" in unescape(hostile)
    assert "<x>" not in hostile
