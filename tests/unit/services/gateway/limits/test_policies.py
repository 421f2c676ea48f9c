"""Figures as they are written."""

import pytest

from services.gateway.limits.policies import DEFAULTS, BadLimit, adjusted


@pytest.mark.parametrize(
    ("figure", "limit", "window_s"),
    [("60/min", 60, 60), ("5/15min", 5, 900), ("1000/s", 1000, 1), ("50/h", 50, 3600), ("1/d", 1, 86_400)],
)
def test_a_figure_is_read(figure: str, limit: int, window_s: int) -> None:
    policy = DEFAULTS["api"].with_limit(figure)
    assert (policy.limit, policy.window_s, policy.shadow) == (limit, window_s, False)
    assert DEFAULTS["api"].with_limit(f"shadow {figure}").shadow
    assert policy.with_limit(policy.limit_text).limit == limit


def test_off_is_no_limit() -> None:
    assert DEFAULTS["api"].with_limit("off").limit == 0


@pytest.mark.parametrize(
    "figure", ["", "60", "60/", "/min", "0/min", "60/0min", "-1/s", "1e3/s", "off/s", "6 at once"]
)
def test_what_is_no_figure(figure: str) -> None:
    with pytest.raises(BadLimit):
        DEFAULTS["api"].with_limit(figure)


def test_what_runs_at_once_is_no_rate() -> None:
    assert DEFAULTS["uploads"].with_limit("3 at once").limit == 3
    with pytest.raises(BadLimit):
        DEFAULTS["uploads"].with_limit("3/s")


def test_an_unknown_policy_is_named() -> None:
    with pytest.raises(BadLimit, match="speed"):
        adjusted(DEFAULTS, {"speed": "1/s"})
