"""The environment is read once; mistakes are told together, values never."""

import pytest
from pydantic import ValidationError

from libs.common.config import ShutdownSettings, exit_if_refused, load
from libs.common.errors import Misconfigured
from services.gateway.config import Settings as GatewaySettings
from services.ocr.config import Settings as OcrSettings

GOOD = {
    "DATABASE_URL": "postgresql://u:hunter2@h/d",
    "NATS_URL": "nats://token@h:4222",
    "BLOB_URL": "file:///blobs",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("DATABASE_URL", "NATS_URL", "BLOB_URL", "REDIS_URL", "OCR_CONCURRENCY"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_defaults_are_the_documented_ones(environment: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        environment.setenv(name, value)
    settings = load(OcrSettings)
    assert (settings.db_max_connections, settings.db_min_connections) == (10, 2)
    assert (settings.db_connection_timeout, settings.db_idle_timeout) == (30_000, 300_000)
    assert settings.slots == settings.ocr_concurrency == 2


def test_all_mistakes_are_reported_together_and_no_value_is_repeated(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("OCR_CONCURRENCY", "s3cret-looking")
    environment.setenv("DATABASE_URL", "")
    with pytest.raises(SystemExit) as stopped:
        load(OcrSettings)
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    for name in ("DATABASE_URL", "NATS_URL", "BLOB_URL", "OCR_CONCURRENCY"):
        assert name in told
    assert "s3cret-looking" not in told


def test_secrets_are_not_printed(environment: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        environment.setenv(name, value)
    assert "hunter2" not in repr(load(OcrSettings)) + str(load(GatewaySettings))


def test_redis_is_one_address_or_its_parts(environment: pytest.MonkeyPatch) -> None:
    for name, value in (
        GOOD | {"REDIS_HOST": "r", "REDIS_PORT": "7", "REDIS_PASSWORD": "p", "REDIS_DB": "3"}
    ).items():
        environment.setenv(name, value)
    assert load(GatewaySettings).redis_address == "redis://:p@r:7/3"
    environment.setenv("REDIS_URL", "redis://elsewhere/1")
    assert load(GatewaySettings).redis_address == "redis://elsewhere/1"


def test_a_grace_time_that_the_platform_would_cut_short_is_refused() -> None:
    with pytest.raises(ValidationError, match="TERMINATION_GRACE_S"):
        ShutdownSettings(shutdown_grace_s=25, termination_grace_s=30)
    assert ShutdownSettings(shutdown_grace_s=22, termination_grace_s=30).shutdown_grace_s == 22


def test_a_process_whose_settings_a_server_refuses_ends_as_if_they_could_not_be_read() -> None:
    with pytest.raises(SystemExit) as stopped, exit_if_refused():
        raise Misconfigured("The server refuses the password.")
    assert stopped.value.code == 2
