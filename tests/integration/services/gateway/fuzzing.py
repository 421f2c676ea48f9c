"""What schemathesis cannot know from the description alone: what documents, cron expressions, zones look like."""

import os
import re
from base64 import b64encode
from datetime import datetime
from typing import Any
from uuid import uuid4

import schemathesis
from hypothesis import strategies as st

from libs.common.contracts.sync import SOURCE_NAME
from services.gateway.endpoints.uploads import SNIFFED
from services.gateway.http.idempotency import IDEMPOTENCY_KEY

EARLIEST, LATEST = datetime(1970, 1, 2), datetime(8999, 12, 31)
WITH_TEXTS = (
    *("/v1/mail", "/v1/templates", "/v1/deadlines", "/v1/schedules", "/v1/analytics", "/v1/event-types"),
    *("/v1/exports", "/v1/sources", "/v1/opportunities", "/v1/searches"),
)
"""Where a text can be anything, but for a character that no text in PostgreSQL has."""
CRONS = ["* * * * *", "0 6 * * mon-fri", "*/5 0-4 1,15 * *", "59 23 31 12 *"]

schemathesis.openapi.format("binary", st.just(b"%PDF-1.7" + b" " * SNIFFED))
schemathesis.openapi.format("cron", st.sampled_from(CRONS))
schemathesis.openapi.format("page-ranges", st.sampled_from(["1", "1-3,7", "2,1"]))
MAILBOXES = st.uuids().flatmap(lambda id_: st.sampled_from([f"{id_}@example.com", f"Ada <{id_}@bücher.test>"]))
schemathesis.openapi.format("mailbox", MAILBOXES)
schemathesis.openapi.format("base64", st.binary(max_size=64).map(lambda content: b64encode(content).decode()))
MOMENTS = st.datetimes(EARLIEST, LATEST).map(lambda moment: f"{moment.isoformat()}Z")
schemathesis.openapi.format("date-time", MOMENTS)
schemathesis.openapi.format("jmespath", st.sampled_from(["id", "grants[].title", "a || b"]))
schemathesis.openapi.format(
    "source-url", st.sampled_from(["https://example.org/grants.json", "http://a.test:8080/"])
)
schemathesis.openapi.format("language", st.sampled_from(["english", "simple"]))
schemathesis.openapi.format("timezone", st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"]))


@schemathesis.auth()
class Bearer:
    """The credential that this run is given."""

    def get(self, _case: Any, _context: Any) -> str:
        return os.environ["FUZZ_CREDENTIAL"]

    def set(self, case: Any, credential: str, _context: Any) -> None:
        case.headers = case.headers or {}
        case.headers["Authorization"] = f"Bearer {credential}"


def without_nul(value: Any) -> Any:
    """`value` without a character that no text in PostgreSQL has."""
    if isinstance(value, dict):
        return {without_nul(name): without_nul(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_nul(item) for item in value]
    return value.replace("\x00", "") if isinstance(value, str) else value


def with_each_address_once(letter: dict[str, Any]) -> None:
    """Change a letter so that it goes to nobody twice; what is no address stays."""
    seen: set[str] = set()

    def once(address: Any) -> Any:
        if isinstance(address, str) and address in seen and "@" in address:
            return f"{uuid4()}@example.com"
        seen.add(str(address))
        return address

    for name in ("to", "cc", "bcc"):
        if isinstance(letter.get(name), list):
            letter[name] = [once(address) for address in letter[name]]
    for name in ("recipients", "followers", "add_followers"):
        if isinstance(letter.get(name), list):
            letter[name] = [
                recipient | {"to": once(recipient["to"])}
                if isinstance(recipient, dict) and "to" in recipient
                else recipient
                for recipient in letter[name]
            ]


def with_an_answer(question: dict[str, Any]) -> None:
    """Change a question about events, if its parts are right, so that they are right together."""
    if all(re.match(r"\d{4}-\d\d-\d\d", str(question.get(name))) for name in ("from", "to")):
        question |= {"from": "2026-11-01", "to": "2026-11-02"}
    if question.get("measure") == "uniques" and isinstance(question.get("breakdown"), str):
        question["breakdown"] = None


def with_a_source(names_it: dict[str, Any]) -> None:
    """Change what names a source so that there is one."""
    if re.fullmatch(SOURCE_NAME, str(names_it.get("source"))):
        names_it["source"] = os.environ["FUZZ_SOURCE"]


def with_what_there_is(case: Any) -> None:
    """Change what only an answer of ours can tell: cursors, sources; and schemas, which are another language."""
    if case.path in ("/v1/changes", "/v1/opportunities") and isinstance(case.query, dict):
        case.query = {
            name: value
            for name, value in case.query.items()
            if name not in ("after", "cursor") or not isinstance(value, str)
        }
        if isinstance(case.query.get("wait"), int | str):
            case.query["wait"] = 0
        if case.query.get("order") == "relevance":  # needs words, as no schema of a query can say
            case.query["q"] = "wells"
    kept = case.method.upper() == "DELETE" and case.path == "/v1/sources/{name}"
    if kept and case.path_parameters.get("name") == os.environ["FUZZ_SOURCE"]:
        case.path_parameters["name"] = "another"
    if case.path == "/v1/sync" and isinstance(case.body, dict):
        with_a_source(case.body)
    is_type = case.path.startswith("/v1/event-types") and isinstance(case.body, dict)
    if is_type and isinstance(case.body.get("schema"), dict):
        case.body["schema"] = {"type": "object"}


@schemathesis.hook
def before_load_schema(_context: Any, api: dict[str, Any]) -> None:
    """The payloads of schedules exclude each other by their queue. Generators of values need to be told so."""
    (kinds,) = api["components"]["schemas"]["NewSchedule"]["allOf"]
    kinds["oneOf"] = kinds.pop("anyOf")


@schemathesis.hook
def before_call(_context: Any, case: Any, **_options: Any) -> None:
    """Documents that are there, streams that end, keys used once, and no waiting: no worker runs here."""
    if case.path.startswith(WITH_TEXTS) and isinstance(case.body, dict):
        case.body = without_nul(case.body)
        letter = case.body.get("payload") if "schedules" in case.path else case.body
        for one in (letter, letter.get("letter") if isinstance(letter, dict) else None):
            if isinstance(one, dict):
                with_each_address_once(one)
    if case.path.startswith("/v1/analytics") and isinstance(case.body, dict):
        with_an_answer(case.body)
    with_what_there_is(case)
    payload = case.body.get("payload") if isinstance(case.body, dict) else None
    if isinstance(payload, dict):
        with_a_source(payload)
    if isinstance(payload, dict) and re.fullmatch("job_[0-9a-f]{32}", str(payload.get("document"))):
        payload["document"] = os.environ["FUZZ_DOCUMENT"]
    if case.path.endswith("/events") and re.fullmatch("job_[0-9a-f]{32}", str(case.path_parameters.get("id"))):
        case.path_parameters["id"] = os.environ["FUZZ_ENDED"]
    headers = case.headers or {}
    if re.fullmatch(IDEMPOTENCY_KEY, str(headers.get("Idempotency-Key", ""))):
        headers["Idempotency-Key"] = uuid4().hex
    if "wait=" in str(headers.get("Prefer", "")):
        headers["Prefer"] = "wait=0"
