"""The environment is read once; mistakes are told together, values never."""

import pytest
from pydantic import ValidationError

from libs.common.config import (
    Environment,
    ProbeSettings,
    RedisSettings,
    ShutdownSettings,
    exit_if_refused,
    load,
)
from libs.common.errors import Misconfigured
from services.gateway.config import Settings as GatewaySettings
from services.mailer.config import Settings as MailerSettings
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
    environment.setenv("REDIS_USERNAME", "gateway")
    environment.setenv("REDIS_PASSWORD", "p@s/s")
    assert load(GatewaySettings).redis_address == "redis://gateway:p%40s%2Fs@r:7/3"
    for name in ("REDIS_USERNAME", "REDIS_PASSWORD"):
        environment.delenv(name)
    assert load(GatewaySettings).redis_address == "redis://r:7/3"
    environment.setenv("REDIS_URL", "redis://elsewhere/1")
    assert load(GatewaySettings).redis_address == "redis://elsewhere/1"


def test_beside_the_url_the_parts_of_redis_are_not_even_read(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("REDIS_URL", "redis://elsewhere/1")
    for name in ("REDIS_PORT", "REDIS_DB"):
        environment.setenv(name, "no number")
    assert RedisSettings().redis_address == "redis://elsewhere/1"
    environment.setenv("REDIS_URL", "")
    with pytest.raises(ValidationError, match="redis_port"):
        RedisSettings()


@pytest.mark.parametrize("settings", [GatewaySettings, OcrSettings, MailerSettings])
@pytest.mark.parametrize("link", ["tcp://10.96.0.1:80", "udp://10.96.0.1:53", "tcp://[fd00::1]:80"])
def test_a_port_that_kubernetes_has_set_counts_as_not_set(
    environment: pytest.MonkeyPatch, settings: type[Environment], link: str
) -> None:
    for name, value in GOOD.items():
        environment.setenv(name, value)
    expected = load(settings)
    ports = [name.upper() for name in settings.model_fields if name.endswith("_port")]
    assert "PROBES_PORT" in ports
    for name in ports:
        environment.setenv(name, link)
    assert load(settings) == expected
    environment.setenv("PROBES_PORT", "9101")
    assert load(settings) == expected.model_copy(update={"probes_port": 9101})


def test_only_ports_can_be_links_of_kubernetes(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("REDIS_HOST", "tcp://10.96.0.1:6379")
    assert RedisSettings().redis_host == "tcp://10.96.0.1:6379"
    environment.setenv("PROBES_PORT", "http://10.96.0.1:80")
    with pytest.raises(ValidationError, match="probes_port"):
        ProbeSettings()


def test_a_grace_time_that_the_platform_would_cut_short_is_refused() -> None:
    with pytest.raises(ValidationError, match="TERMINATION_GRACE_S"):
        ShutdownSettings(shutdown_grace_s=25, termination_grace_s=30)
    assert ShutdownSettings(shutdown_grace_s=22, termination_grace_s=30).shutdown_grace_s == 22


def test_a_process_whose_settings_a_server_refuses_ends_as_if_they_could_not_be_read() -> None:
    with pytest.raises(SystemExit) as stopped, exit_if_refused():
        raise Misconfigured("The server refuses the password.")
    assert stopped.value.code == 2


def test_what_a_server_refuses_is_told_without_its_password(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), exit_if_refused():
        raise Misconfigured("nats://me:hidden@host refuses the password.")
    assert capsys.readouterr().err == "nats://[redacted]@host refuses the password.\n"
