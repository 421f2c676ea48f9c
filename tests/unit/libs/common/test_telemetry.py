"""What a process tells of itself while it runs."""

import os
import tomllib
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr, ValidationError

from libs.common import reporting, telemetry, tracing
from libs.common.config import TelemetrySettings, secrets_of
from libs.common.errors import Unavailable
from tests.polling import until
from tests.receiver import receiving

ROOT = Path(__file__).parents[4]


def test_prometheus_is_told_what_runs() -> None:
    with telemetry.running(TelemetrySettings(argosy_version="4dfe942"), "ocr"):
        labels = {"version": telemetry.VERSION, "commit": "4dfe942"}
        assert REGISTRY.get_sample_value("argosy_build_info", labels) == 1


def test_the_version_stands_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "libs.common.telemetry.VERSION"}


@pytest.mark.parametrize(
    "dsn", ["nowhere", "https://errors.example/1", "https://key@errors.example/", "ftp://k@e/1"]
)
def test_an_address_of_reports_that_cannot_be_read_is_refused_at_the_start(dsn: str) -> None:
    with pytest.raises(ValidationError, match="as the server of errors prints it") as refused:
        TelemetrySettings(errors_dsn=SecretStr(dsn))
    assert dsn not in str(refused.value)


def test_without_an_address_nothing_is_reported() -> None:
    with telemetry.running(TelemetrySettings(), "ocr"):
        reporting.report(ValueError(), event="job.bug", part="worker", facts={})
        assert reporting._sender is None


async def test_the_bug_that_ends_a_process_is_reported_before_it_ends() -> None:
    with receiving() as receiver:
        settings = TelemetrySettings(errors_dsn=SecretStr(receiver.dsn), gateway_env="staging")
        with pytest.raises(KeyError), telemetry.running(settings, "ocr"):
            raise KeyError("x")
        with pytest.raises(Unavailable), telemetry.running(settings, "ocr"):
            raise Unavailable

        async def came() -> bool:
            return bool(receiver.events)

        await until(came)
        (event,) = receiver.events
    assert (event["tags"]["event"], event["environment"]) == ("process.died", "staging")


def test_variables_that_libraries_read_are_hidden_while_they_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SENTRY_ENVIRONMENT", "SENTRY_DEBUG", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with receiving() as receiver:
        settings = TelemetrySettings(errors_dsn=SecretStr(receiver.dsn))
        with telemetry.running(settings, "ocr"):
            reporting.report(ValueError(), event="job.bug", part="worker", facts={})
        assert [event["environment"] for event in receiver.events] == ["dev"]
        assert os.environ["SENTRY_DEBUG"] == "http://127.0.0.1:1"


class Settings(TelemetrySettings):
    relays: SecretStr
    url: SecretStr
    name: str = "no secret"


def test_secrets_are_those_of_settings_those_within_and_those_of_libraries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in list(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the cloud")
    settings = Settings(
        relays=SecretStr("smtp://me:one@a smtps://me:tw%2Fo@b"),
        url=SecretStr("postgresql://user:three@db:5432/x"),
        errors_dsn=SecretStr("https://0123456789abcdef@errors.example/1"),
    )
    assert secrets_of(settings) == {
        "smtp://me:one@a smtps://me:tw%2Fo@b", "postgresql://user:three@db:5432/x",
        "https://0123456789abcdef@errors.example/1",
        "one", "tw%2Fo", "tw/o", "three", "0123456789abcdef", "of the cloud",
    }  # fmt: skip


@pytest.mark.parametrize(
    "url", ["collector:4318", "ftp://collector", "http://me:password@collector", "http://c/?x=1"]
)
def test_an_address_of_traces_that_cannot_be_used_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(ValidationError, match="tracing_url"):
        TelemetrySettings(tracing_url=url)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_between_nothing_and_all(share: float) -> None:
    with pytest.raises(ValidationError, match="tracing_share"):
        TelemetrySettings(tracing_share=share)


def test_traces_go_where_the_settings_say_and_stop_at_the_end() -> None:
    with receiving() as receiver:
        settings = TelemetrySettings(tracing_url=receiver.url, tracing_share=1, argosy_version="4dfe942")
        with telemetry.running(settings, "ocr"):
            trace = tracing.new_traceparent()
            assert tracing.is_sampled(trace)
            tracing.Span("x", tracing.Kind.INTERNAL, tracing.Place.of(trace)).end()
        assert not tracing.is_sampled(trace)
        assert receiver.requests <= 1
