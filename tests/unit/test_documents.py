"""The documents say what the code does: names, settings, paths, codes and links are compared with it."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from uuid import UUID

import pytest

import libs.common
from libs.common.backoff import Backoff
from libs.common.config import Environment
from libs.common.contracts.services import QUEUES
from libs.common.errors import ArgosyError, Reject, Unavailable, code_of
from libs.common.ledger.claim import Claim
from libs.common.ledger.jobs import State
from libs.common.worker.failure import outcome_of_failure
from services.gateway.limits.policies import DEFAULTS
from services.gateway.problems import Problem
from services.gateway.routes import OPERATIONS

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
RUNBOOKS = sorted((ROOT / "deploy" / "prometheus" / "runbooks").glob("*.md"))
PAGES = [*sorted(ROOT.glob("*.md")), *DOCS, *RUNBOOKS]
CONFIGS = sorted((ROOT / "services").glob("*/config.py"))
README_WORDS_AT_MOST = 700

NOT_FAILURES = {
    "argosy_error",  # the base of all
    "bad_cron",  # the gateway answers with a problem
    "changes_forgotten",  # an answer to the gateway's request
    "cursor_invalid",  # likewise
    "file_refused",  # the base of those of exports
    "misconfigured",  # ends the process
    "made_before",  # the gateway answers with what was made
    "name_taken",  # the gateway answers with a problem
    "not_found",  # an answer to the gateway's request
    "other_request",  # a problem
    "request_too_long",  # likewise
    "rpc_error",  # likewise
    "schema_invalid",  # an answer to the gateway's request
    "search_too_slow",  # an answer to the gateway's request
    "source_busy",  # an answer to the gateway's request
    "stream_unavailable",  # the dispatcher goes on with other queues
    "token_invalid",  # an answer to the gateway's request, or to LMTP
    "too_early",  # an answer to LMTP
    "too_many_followers",  # an answer to the gateway's request
    "too_many_replays",  # the gateway answers with a problem
    "too_many_rows",  # an answer to the gateway's request
    "too_many_schedules",  # the gateway answers with a problem
    "too_many_searches",  # an answer to the gateway's request
    "too_many_sources",  # likewise
    "unique_key_taken",  # a problem
    "unreachable",  # the recipient is deferred instead
    "wait",  # the run goes on later
}
"""Codes of errors that end no attempt at a job."""


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """What stands under `heading` (`## Settings`), as far as the next heading of that level or above."""
    level = heading.count("#", 0, heading.index(" "))
    text = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)  # a comment in a block is no heading
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, heading
    return re.split(rf"^#{{1,{level}}} ", rest, maxsplit=1, flags=re.M)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of all tables, without headings and rules."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rules = {number for number, line in enumerate(lines) if re.fullmatch(r"[|\s-]+", line)}
    return [row for number, row in enumerate(cells) if not {number, number + 1} & rules]


def named(cell: str) -> list[str]:
    """What a cell has in backquotes."""
    return re.findall(r"`([^`]+)`", cell)


def subclasses(parent: type[ArgosyError]) -> Iterator[type[ArgosyError]]:
    for child in parent.__subclasses__():
        yield child
        yield from subclasses(child)


def job_errors() -> dict[str, type[ArgosyError]]:
    """Every error of the library and the workers by its code."""
    workers = [importlib.import_module(f"services.{queue}") for queue in QUEUES]
    for package in (libs.common, *workers):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    places = ("libs.common.", *(f"{worker.__name__}." for worker in workers))
    found = {child for child in subclasses(ArgosyError) if child.__module__.startswith(places)}
    return {code_of(error): error for error in found} | {"argosy_error": ArgosyError}


def test_every_problem_is_documented() -> None:
    kinds = [child for child in subclasses(Problem) if child.__module__ == Problem.__module__]
    known = {(code_of(kind), str(kind.status)) for kind in kinds if issubclass(kind, Problem)}
    documented = [(named(row[0])[0], row[1]) for row in rows(section(text_of("docs/errors.md"), "## Problems"))]
    assert len(documented) == len(set(documented))
    assert set(documented) == known


def attempts_it_costs(error: type[ArgosyError]) -> str:
    """How many of its attempts a job has when its handler raises `error` again and again."""
    if issubclass(error, Unavailable):
        return "none"
    try:
        raised = error()
    except TypeError:  # it wants to know more
        raised = error.__new__(error)
    at_most = 5
    for failures in range(at_most):
        claim = Claim(UUID(int=1), failures + 1, failures, at_most, 60.0, "dev", "k", "{}", None, 0.0, None, 0)
        outcome = outcome_of_failure(claim, raised, Backoff())
        if outcome.state is State.FAILED:
            assert outcome.error is not None
            assert outcome.error["retryable"] is False
            return "all" if failures + 1 == at_most else str(failures + 1)
    raise AssertionError(error)


def test_every_failure_code_is_documented_with_the_attempts_that_it_costs() -> None:
    errors = job_errors()
    assert set(errors) >= NOT_FAILURES
    costs = {code: attempts_it_costs(error) for code, error in errors.items() if code not in NOT_FAILURES}
    assert {code for code, cost in costs.items() if cost == "1"} == {
        code for code in costs if issubclass(errors[code], Reject)
    }
    recovery = text_of("libs/common/ledger/requeueing.py")
    ((poison, lost),) = re.findall(r"'code', CASE WHEN poisonous THEN '(\w+)' ELSE '(\w+)' END", recovery)
    (bug,) = re.findall(r'"code": "(\w+)"', text_of("libs/common/worker/failure.py"))
    costs |= {poison: "1", lost: "all", bug: "all"}
    documented = {named(row[0])[0]: row[1:3] for row in rows(section(text_of("docs/errors.md"), "## Failures"))}
    assert documented == {code: ["no" if cost == "1" else "yes", cost] for code, cost in costs.items()}


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_the_readme_has_one_screen() -> None:
    assert len(re.findall(r"\S*\w\S*", text_of("README.md"))) <= README_WORDS_AT_MOST


def test_every_page_says_what_it_is_for() -> None:
    assert DOCS
    for page in DOCS:
        assert re.match(r"# .+\n\nThis page [^\n]+", page.read_text(encoding="utf-8")), page.name


def test_no_page_has_a_section_twice() -> None:
    for page in (*DOCS, *RUNBOOKS):
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        headings = re.findall(r"^#+ .*", text, re.M)
        assert sorted(headings) == sorted(set(headings)), page


def test_every_setting_is_documented() -> None:
    known: set[str] = set()
    for path in CONFIGS:
        settings = importlib.import_module(f"services.{path.parent.name}.config").Settings
        assert issubclass(settings, Environment)
        known |= {name.upper() for name in settings.model_fields}
    settings_rows = rows(section(text_of("docs/operate.md"), "## Settings"))
    documented = [name for row in settings_rows for name in named(row[0])]
    assert len(documented) == len(set(documented))
    assert set(documented) == known


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_a_runbook_names_only_what_there_is(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    operations = {(operation.method, operation.path) for operation in OPERATIONS}
    for method, path in re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/v1/[^?`]+)", text):
        assert (method, path) in operations
    settings = {name for row in rows(section(text_of("docs/operate.md"), "## Settings")) for name in named(row[0])}
    for setting in re.findall(r"`([A-Z]+_[A-Z_]+)`", text):
        assert setting in settings
    metrics = set(re.findall(r'"(argosy_\w+)"', text_of("libs/common/metrics.py")))
    for metric in re.findall(r"`(argosy_\w+?)(?:_total)?`", text):
        assert metric in metrics


def test_every_metric_is_documented() -> None:
    known = set(re.findall(r'"(argosy_\w+)"', text_of("libs/common/metrics.py")))
    documented = {
        name for row in rows(section(text_of("docs/operate.md"), "## Metrics")) for name in named(row[0])
    }
    assert documented == known


def test_every_limit_is_documented() -> None:
    first_table = rows(text_of("docs/limits.md").partition("\n## ")[0])
    (of_tenants,) = (row for row in first_table if row[0] == "`tenant-…`")
    by_row = {named(row[0])[0] for row in first_table if row is not of_tenants}
    assert by_row | set(named(of_tenants[2])) == set(DEFAULTS)


def test_every_operation_is_documented_and_no_other() -> None:
    known = {(operation.method, operation.path) for operation in OPERATIONS}
    prose = "".join(page.read_text(encoding="utf-8") for page in DOCS)
    documented = set(re.findall(r"\b(GET|POST|PUT|PATCH|DELETE) (/v1/[\w/{}-]+)", prose))
    assert documented == known


def test_every_file_named_in_the_architecture_exists() -> None:
    folders = ("services", "libs", "deploy", "tests")
    files = [str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*.*")]
    mentioned = set(re.findall(r"`([\w./]+\.(?:py|lua))", text_of("ARCHITECTURE.md")))
    assert mentioned
    assert [name for name in mentioned if not any(f"/{file}".endswith(f"/{name}") for file in files)] == []


def test_every_promise_of_security_has_a_test_or_says_why_not() -> None:
    promises = [row for row in rows(text_of("SECURITY.md")) if re.fullmatch(r"S\d+", row[0])]
    assert [row[0] for row in promises] == [f"S{number}" for number in range(1, 32)]
    bare = [number for number, _, proof in promises if not re.search(r"`tests/[^`]+::|^Not yet\. \w", proof)]
    assert bare == []


def test_every_test_named_in_the_security_document_exists() -> None:
    references = re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`", text_of("SECURITY.md"))
    assert references
    for file, name in references:
        assert set(name.split("::")) <= defined_in(file), f"{file}::{name}"


@cache
def defined_in(file: str) -> set[str]:
    """The names of all functions and classes."""
    return {
        node.name
        for node in ast.walk(ast.parse(text_of(file)))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
