"""Figures as they are written."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.limits.policies import (
    BUCKETS,
    DEFAULTS,
    LOG_AT_MOST,
    TENANT_TIMES,
    BadLimit,
    Charge,
    Charges,
    Per,
    Policy,
    adjusted,
    adjusted_for_tenant,
)


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


@given(st.integers(1, 10**9 - 1), st.integers(1, 99_999), st.sampled_from(["s", "min", "h", "d"]), st.booleans())
def test_what_is_written_is_read_back(limit: int, number: int, unit: str, shadow: bool) -> None:
    policy = DEFAULTS["api"].with_limit(f"{'shadow ' if shadow else ''}{limit}/{number}{unit}")
    if policy.window_s <= 99_999:  # what can be written in seconds
        again = DEFAULTS["api"].with_limit(policy.limit_text)
        assert (again.limit, again.window_s, again.shadow) == (policy.limit, policy.window_s, policy.shadow)
    assert policy.counts_for_us >= policy.window_s * 1_000_000, "it never counts for less than its window"
    assert policy.counts_for_us <= policy.window_s * 1_000_000 * (1 + 1 / BUCKETS) + 1


def test_counts_of_different_kinds_are_kept_apart() -> None:
    """A figure that changes from a log to buckets, or to wider ones, must not read the other's keys."""
    figures = [f"{LOG_AT_MOST}/min", f"{LOG_AT_MOST + 1}/min", f"{LOG_AT_MOST + 1}/h"]
    keys = {Charge.of(DEFAULTS["api"].with_limit(figure), "me").key for figure in figures}
    assert len(keys) == 3
    same = {Charge.of(DEFAULTS["api"].with_limit(figure), "me").key for figure in ("1/s", "2/min", "3/h")}
    assert len(same) == 1, "a log holds for every figure of its kind"


def test_what_the_fleet_can_carry_and_a_shadow_are_not_shown() -> None:
    assert not DEFAULTS["global"].is_shown
    assert not DEFAULTS["api"].with_limit("shadow 1/s").is_shown
    charges = Charges(Charge.of(DEFAULTS[name], "me") for name in ("global", "api", "uploads"))
    assert charges.fields == '"api";q=60;w=60, "uploads";q=8;qu="concurrent-requests"'
    assert charges.holds_slots
    assert len(charges) == 3


def test_signing_in_is_guarded_strictly() -> None:
    assert {name for name, policy in DEFAULTS.items() if policy.strict} == {"auth", "auth-ip"}


def texts(policies: Mapping[str, Policy], *names: str) -> list[str]:
    return [policies[name].limit_text for name in names]


def test_beside_each_policy_of_a_key_stands_one_of_its_tenant() -> None:
    of_keys = {name for name, policy in DEFAULTS.items() if policy.per is Per.USER}
    per_tenant = [policy for policy in DEFAULTS.values() if policy.per is Per.TENANT]
    assert [policy.name for policy in per_tenant if not policy.key_policy] == ["events-tenant"]
    of_tenants = {policy.key_policy: policy for policy in per_tenant if policy.key_policy}
    assert of_keys
    assert of_keys == of_tenants.keys()
    for name, whole in of_tenants.items():
        of_key = DEFAULTS[name]
        assert (whole.limit, whole.window_s) == (of_key.limit * TENANT_TIMES, of_key.window_s)
        assert (whole.at_once, whole.strict) == (of_key.at_once, of_key.strict)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"ocr": "3/h"}, ["3/3600s", "30/3600s"]),
        ({"ocr": "shadow 3/h"}, ["shadow 3/3600s", "shadow 30/3600s"]),
        ({"ocr": "off"}, ["0/3600s", "0/3600s"]),
        ({"tenant-ocr": "70/h"}, ["50/3600s", "70/3600s"]),
        ({"ocr": "3/h", "tenant-ocr": "off"}, ["3/3600s", "0/3600s"]),
    ],
    ids=str,
)
def test_a_tenants_limit_follows_its_keys_until_it_is_set(limits: dict[str, str], expected: list[str]) -> None:
    assert texts(adjusted(DEFAULTS, limits), "ocr", "tenant-ocr") == expected


@pytest.mark.parametrize(
    ("everybodys", "own", "expected"),
    [
        ({}, {"ocr": "3/h"}, ["3/3600s", "3/3600s"]),
        ({}, {"ocr": "3/min"}, ["3/60s", "3/60s"]),
        ({}, {"ocr": "60/d"}, ["60/86400s", "60/86400s"]),
        ({}, {"ocr": "70/h"}, ["70/3600s", "700/3600s"]),
        ({}, {"ocr": "off"}, ["0/3600s", "0/3600s"]),
        ({}, {"ocr": "shadow 3/h"}, ["shadow 3/3600s", "shadow 30/3600s"]),
        ({}, {"tenant-ocr": "70/h"}, ["50/3600s", "70/3600s"]),
        ({}, {"ocr": "3/h", "tenant-ocr": "9/h"}, ["3/3600s", "9/3600s"]),
        ({"ocr": "off"}, {"ocr": "3/h"}, ["3/3600s", "3/3600s"]),
        ({"ocr": "shadow 3/h"}, {"ocr": "3/h"}, ["3/3600s", "3/3600s"]),
        ({"tenant-ocr": "off"}, {"ocr": "3/h"}, ["3/3600s", "3/3600s"]),
        ({"tenant-ocr": "70/h"}, {"ocr": "60/h"}, ["60/3600s", "70/3600s"]),
        ({"tenant-ocr": "2/h"}, {"ocr": "3/h"}, ["3/3600s", "2/3600s"]),
    ],
    ids=str,
)
def test_an_own_limit_that_is_lower_holds_for_the_tenant_as_a_whole(
    everybodys: dict[str, str], own: dict[str, str], expected: list[str]
) -> None:
    policies = adjusted_for_tenant(adjusted(DEFAULTS, everybodys), own)
    assert texts(policies, "ocr", "tenant-ocr") == expected
    others = DEFAULTS.keys() - {"ocr", "tenant-ocr"}
    assert all(policies[name] is DEFAULTS[name] for name in others)


@given(st.integers(1, 2000), st.sampled_from(["s", "min", "h", "d"]))
def test_no_number_of_keys_gets_more_than_a_lower_limit(limit: int, unit: str) -> None:
    policies = adjusted_for_tenant(DEFAULTS, {"ocr": f"{limit}/{unit}"})
    own, whole = policies["ocr"], policies["tenant-ocr"]
    if own.admits_all_of(DEFAULTS["ocr"]):
        assert whole.limit_text == own.for_tenant().limit_text
    else:
        assert whole.limit_text == own.limit_text
