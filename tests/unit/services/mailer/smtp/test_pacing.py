"""Limits as they are written."""

import pytest

from services.mailer.smtp.pacing import Rate, parse_rates


def test_limits_are_read() -> None:
    rates = parse_rates("relay=100/s, tenant=20/min, domain=50/h, domain:Example.com=5/day")
    assert (rates.relay, rates.tenant, rates.domain) == (Rate(100, 1), Rate(20, 60), Rate(50, 3600))
    assert rates.domains == {"example.com": Rate(5, 86_400)}


@pytest.mark.parametrize("wrong", ["domain", "relay=0/s", "relay=5", "tenant:acme=5/s", "domain=5/week", "x=1/s"])
def test_limits_that_cannot_be_read_are_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="MAIL_LIMITS"):
        parse_rates(wrong)
