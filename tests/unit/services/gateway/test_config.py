"""Settings of the gateway: what does not fit together is refused at the start."""

from typing import Any

import pytest
from pydantic import ValidationError

from libs.common import config
from services.gateway.__main__ import Server
from services.gateway.app import create_app
from services.gateway.config import LimitSettings, RetentionSettings, Settings, TokenSettings

NEEDED = {"database_url": "postgresql://h/d", "nats_url": "nats://h", "blob_url": "file:///blobs"}


def settings(**changes: Any) -> Settings:
    return Settings.model_validate(NEEDED | changes)


def test_limits_are_read_from_one_line() -> None:
    limits = LimitSettings.model_validate({"limits": " api=600/min , ocr = 100/h, ip=off, search=shadow 60/min,"})
    policies = limits.policies
    assert (policies["api"].limit, policies["api"].window_s) == (600, 60)
    assert (policies["ocr"].limit, policies["ocr"].window_s) == (100, 3600)
    assert policies["ip"].limit == 0
    assert policies["search"].shadow
    assert policies["burst"].limit == 30, "what is not named stays"


@pytest.mark.parametrize(
    "limits", ["api", "api=", "api=many", "speed=1/s", "api=600/min ocr=100/h", "uploads=3/s"]
)
def test_limits_that_cannot_be_read_are_refused_at_the_start(limits: str) -> None:
    with pytest.raises(ValidationError):
        settings(limits=limits)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"trusted_proxies": "10.0.0.0/8, nonsense"}, "nonsense"),
        ({"trusted_proxies": "10.0.0.1/8"}, "host bits"),
        ({"trusted_proxies": "none, 10.0.0.0/8"}, "'none'"),
        ({"gateway_env": "staging"}, "TRUSTED_PROXIES must be set"),
        ({"gateway_keep_alive_s": 0}, "gateway_keep_alive_s"),
        ({"cors_origins": "https://app.example.com/"}, "https://app.example.com/"),
        ({"cors_origins": "*"}, r"\*"),
        ({"cors_origins": "app.example.com"}, "app.example.com"),
        ({"gateway_env": "Production"}, "gateway_env"),
        ({"gateway_port": 65_536}, "gateway_port"),
        ({"gateway_max_in_flight": 9}, "gateway_max_in_flight"),
        ({"gateway_drain_s": 5}, "TERMINATION_GRACE_S"),
        ({"limits_budget_ms": 0}, "limits_budget_ms"),
        ({"token_secret": "x" * 31}, "token_secret"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        settings(**wrong)


def test_lists_may_have_commas_and_spaces() -> None:
    chosen = settings(
        trusted_proxies="10.0.0.0/8,fd00::/8  192.0.2.1", cors_origins="https://a.test, http://localhost:3000"
    )
    assert chosen.proxies == ["10.0.0.0/8", "fd00::/8", "192.0.2.1"]
    assert chosen.origins == ["https://a.test", "http://localhost:3000"]
    assert (settings().proxies, settings().origins) == ([], []), "nobody, unless it is said"


def test_where_there_is_no_proxy_it_has_to_be_said() -> None:
    assert settings(gateway_env="staging", trusted_proxies="none").proxies == []
    assert settings(gateway_env="staging", trusted_proxies="10.0.0.0/8").proxies == ["10.0.0.0/8"]


def test_a_gateway_that_does_not_know_its_proxies_does_not_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (NEEDED | {"gateway_env": "production", "trusted_proxies": ""}).items():
        monkeypatch.setenv(name.upper(), value)
    with pytest.raises(SystemExit) as ended:
        config.load(Settings)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "TRUSTED_PROXIES must be set" in line
    assert "`none`" in line


def test_idle_connections_outlast_those_of_proxies() -> None:
    server = Server(create_app(settings()), settings())
    assert server.config.timeout_keep_alive == 75
    chosen = settings(gateway_keep_alive_s=130)
    assert Server(create_app(chosen), chosen).config.timeout_keep_alive == 130


def test_the_times_of_a_stop_fit_to_the_second() -> None:
    fitting = settings(gateway_drain_s=2, shutdown_grace_s=20, termination_grace_s=30)
    assert fitting.gateway_drain_s == 2
    with pytest.raises(ValidationError, match="GATEWAY_DRAIN_S"):
        settings(gateway_drain_s=2.1, shutdown_grace_s=20, termination_grace_s=30)


def test_tokens_are_signed_as_the_secret_or_the_keys_demand() -> None:
    outside = {"jwt_issuer": "https://i.test", "jwt_audience": "argosy"}
    shared = TokenSettings.model_validate(outside | {"jwt_secret": "x" * 32})
    assert shared.algorithms == ["HS256"]
    public = TokenSettings.model_validate(outside | {"jwt_jwks_url": "https://i.test/keys"})
    assert public.algorithms == ["RS256"]
    named = TokenSettings.model_validate(
        outside | {"jwt_jwks_url": "https://i.test/keys", "jwt_algorithms": "ES256, RS512"}
    )
    assert named.algorithms == ["ES256", "RS512"]
    with pytest.raises(ValidationError, match="JWT_ALGORITHMS"):
        TokenSettings.model_validate(
            outside | {"jwt_jwks_url": "https://i.test/keys", "jwt_algorithms": "RS256, HS256"}
        )


@pytest.mark.parametrize("wrong", [{"retention_days": 0}, {"retention_max_bytes": 0}, {"retention_days": -1}])
def test_nothing_is_removed_before_it_was_there(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        RetentionSettings.model_validate(wrong)


def test_succeeded_jobs_of_a_queue_may_be_kept_for_fewer_days() -> None:
    assert RetentionSettings().days_kept == (30, {})
    assert RetentionSettings.model_validate({"retention_days": 0.5}).days_kept == (0.5, {})
    by_queue = RetentionSettings.model_validate({"retention_days": "30, ocr=1 , mailer = 0.5"})
    assert by_queue.days_kept == (30, {"ocr": 1, "mailer": 0.5})


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("ocr=1", "write it like"),
        ("30, ocr", "write it like"),
        ("30,", "write it like"),
        ("30, ocr=a day", "write it like"),
        ("30, orc=1", "no queue orc; there are ocr"),
        ("inf", "days must be"),
        ("nan", "days must be"),
        ("30, ocr=0", "days must be"),
        ("30, ocr=31", "not more than those of all"),
    ],
)
def test_days_that_cannot_be_meant_are_refused(wrong: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        RetentionSettings.model_validate({"retention_days": wrong})
