"""What leaves the process, seen by a server that takes it; and servers that take nothing."""

import asyncio
import json
import time
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from deploy.local.test_servers import free_port
from libs.common.reporting import Report
from libs.common.sentry import WAITING_AT_MOST, Sentry
from tests.polling import until
from tests.receiver import Receiver, receiving

SECRETS = ("p4ss/word'", "postgresql://argosy:p4ss@db/argosy")
FACTS = {"job_id": "job_1", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "request_id": "req_00f067aa0ba902b7"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def sentry(dsn: str) -> Sentry:
    return Sentry(dsn, release="4dfe942", environment="staging", service="ocr", secrets=SECRETS)


def report(error: Exception) -> Report:
    """Of an error that was raised where secrets were in variables."""
    hidden = "value of a variable"
    try:
        raise error
    except Exception as raised:
        assert hidden
        return Report(raised, "job.bug", "worker", ("worker", "ValueError", "x.py:f"), FACTS)


async def came(receiver: Receiver) -> None:
    async def first() -> bool:
        return bool(receiver.events)

    await until(first)


def lost() -> float:
    return REGISTRY.get_sample_value("argosy_error_reports_total", {"result": "lost"}) or 0


async def test_a_bug_is_told_with_what_leads_to_its_log_lines(receiver: Receiver) -> None:
    sender = sentry(receiver.dsn)
    sender.send(report(ValueError("no such page")))
    await came(receiver)
    (event,) = receiver.events
    assert (event["release"], event["environment"], event["logger"]) == ("4dfe942", "staging", "worker")
    assert event["tags"] == {"service": "ocr", "event": "job.bug"} | FACTS
    assert event["contexts"]["trace"] == {"trace_id": FACTS["trace_id"], "span_id": "00f067aa0ba902b7"}
    assert event["fingerprint"] == ["worker", "ValueError", "x.py:f"]
    error = event["exception"]["values"][-1]
    assert (error["type"], error["value"]) == ("ValueError", "no such page")
    assert error["stacktrace"]["frames"][-1]["function"] == "report"
    sender.close(1)


async def test_no_value_of_a_variable_and_nothing_of_the_machine_is_told(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_VARIABLE", "of the environment")
    sender = sentry(receiver.dsn)
    sender.send(report(ValueError("x")))
    await came(receiver)
    (event,) = receiver.events
    frames = event["exception"]["values"][-1]["stacktrace"]["frames"]
    assert all("vars" not in frame for frame in frames)
    assert not event.keys() & {"breadcrumbs", "user", "request", "extra", "modules"}
    assert "of the environment" not in json.dumps(event)
    sender.close(1)


@pytest.mark.parametrize(
    "secret",
    [
        "p4ss/word'", "p4ss%2Fword%27", repr("p4ss/word'"), repr(repr("p4ss/word'")), SECRETS[1], "smtp://me:hunter22@relay.example",
        "Bearer abcdefghijklmnop", "jane.doe+x@mail.example.com",
    ],
)  # fmt: skip
async def test_secrets_and_addresses_in_texts_of_errors_are_not_told(receiver: Receiver, secret: str) -> None:
    error = ValueError(f"cannot use {secret} now")
    error.add_note(f"because of {secret}")
    error.__cause__ = KeyError(secret)
    sender = sentry(receiver.dsn)
    sender.send(report(error))
    await came(receiver)
    told = receiver.raw.decode()
    assert "cannot use" in told
    for word in (secret, "p4ss", "hunter22", "abcdefghijklmnop", "jane.doe"):
        assert word not in "".join(value["value"] for value in receiver.events[0]["exception"]["values"])
    sender.close(1)


async def test_variables_of_the_sdk_change_nothing(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are gone when it starts (libs.common.telemetry); what it looks up later is not there either."""
    monkeypatch.setenv("SENTRY_RELEASE", "theirs")
    monkeypatch.setenv("SENTRY_ENVIRONMENT", "theirs")
    monkeypatch.setenv("SENTRY_DSN", "http://theirs@127.0.0.1:1/1")
    sender = sentry(receiver.dsn)
    sender.send(report(ValueError("x")))
    await came(receiver)
    assert "theirs" not in json.dumps(receiver.events)
    sender.close(1)


async def test_a_server_that_is_away_costs_the_caller_nothing() -> None:
    before = lost()
    sender = sentry(f"http://key@127.0.0.1:{free_port()}/1")
    sender.send(report(ValueError("x")))

    async def one_more() -> bool:
        return lost() > before

    await until(one_more)
    sender.close(1)


async def test_a_server_that_hangs_holds_up_neither_callers_nor_the_end(receiver: Receiver) -> None:
    receiver.answering.clear()
    sender = sentry(receiver.dsn)
    before = lost()
    begun = time.monotonic()
    for _ in range(WAITING_AT_MOST + 5):
        sender.send(report(ValueError("x")))
        await asyncio.sleep(0)
    assert lost() >= before + 4  # the queue is full; one is on its way
    within_s = 0.2
    await asyncio.to_thread(sender.close, within_s)
    assert time.monotonic() - begun < 5
    assert receiver.events == []


def test_an_address_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match="key"):
        sentry("https://no-key.example/1")
