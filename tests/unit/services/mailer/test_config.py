"""What is wrong with the settings is found at the start, not with the first letter."""

from typing import Any

import pytest
from pydantic import ValidationError

from services.mailer.config import Settings
from services.mailer.smtp.pacing import Rate, Rates

NEEDED = {"database_url": "x", "nats_url": "nats://x", "blob_url": "x"}
SECRET = "not a secret, but long enough to be one"  # noqa: S105


def settings(**more: Any) -> Settings:
    return Settings.model_validate(NEEDED | more)


@pytest.mark.parametrize("how", [{"mail_bounce_domain": "back.test"}, {"mail_lmtp_port": 0}])
def test_return_paths_need_a_secret(how: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="MAIL_SECRET"):
        settings(**how)
    assert settings(mail_secret=SECRET, **how).mail_secret is not None


def test_a_short_secret_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValidationError) as refused:
        settings(mail_secret="hunter2")  # noqa: S106
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("between", [" ", ",", ", ", "\n", "  "])
def test_relays_are_in_the_order_in_which_they_are_written(between: str) -> None:
    urls = ["smtps://user:p%40ss@first.test:465", "smtp://second.test?tls=off"]
    assert settings(mail_relays=f" {between.join(urls)} ").relay_urls == urls


def test_relays_keep_their_passwords_to_themselves() -> None:
    assert "hunter2" not in repr(settings(mail_relays="smtp://user:hunter2@relay.test"))


def test_limits_are_checked_at_the_start() -> None:
    assert settings().rates == Rates()
    assert settings(mail_limits="domain=5/min").rates == Rates(domain=Rate(5, 60))
    with pytest.raises(ValidationError, match="MAIL_LIMITS"):
        settings(mail_limits="five a minute")


@pytest.mark.parametrize("url", ["argosy.test", "ftp://argosy.test", "https://argosy.test/a b"])
def test_the_public_url_is_one_of_the_web(url: str) -> None:
    with pytest.raises(ValidationError, match="public_url"):
        settings(public_url=url)


def test_slots_are_the_jobs_at_once() -> None:
    assert settings(email_concurrency=9).slots == 9


@pytest.mark.parametrize("name", ["mail.harbour.test", "[192.0.2.1]", "[IPv6:2001:db8::1]"])
def test_the_name_in_ehlo_is_a_host_or_an_address(name: str) -> None:
    assert settings(mail_helo=name).mail_helo == name


@pytest.mark.parametrize(
    "name", ["", "two words", "mail.harbour.test\r\nMAIL FROM:<a@b.test>", "mail.harbour.test\n"]
)
def test_a_name_in_ehlo_that_would_be_more_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="mail_helo"):
        settings(mail_helo=name)
