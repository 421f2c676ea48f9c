"""The header fields of a decision (draft-ietf-httpapi-ratelimit-headers-10)."""

from services.gateway.limits.decisions import SLOT_RETRY_S, Decision, LimitStatus, refused
from services.gateway.limits.policies import DEFAULTS, Charge, Charges, Per, Policy

API, BURST, UPLOADS, GLOBAL = (DEFAULTS[name] for name in ("api", "burst", "uploads", "global"))
SHADOW = Policy("search", Per.USER, 3, 60, shadow=True)


def charges(*policies: Policy) -> Charges:
    return Charges(Charge.of(policy, "me") for policy in policies)


def test_whoever_is_admitted_is_told_what_remains() -> None:
    charged = charges(BURST, API, UPLOADS)
    statuses = (LimitStatus(BURST, 29, 1), LimitStatus(API, 0, 42), LimitStatus(UPLOADS, 7, 1))
    decision = Decision(True, statuses, fields=charged.fields)
    assert decision.headers == {
        "RateLimit-Policy": '"burst";q=30;w=1, "api";q=60;w=60, "uploads";q=8;qu="concurrent-requests"',
        "RateLimit": '"burst";r=29;t=1, "api";r=0;t=42, "uploads";r=7',
    }


def test_what_is_no_callers_business_is_not_told() -> None:
    charged = charges(GLOBAL, SHADOW)
    decision = Decision(True, (LimitStatus(GLOBAL, 5, 1), LimitStatus(SHADOW, -2, 9)), fields=charged.fields)
    assert decision.headers == {}
    both = charges(GLOBAL, API)
    told = Decision(True, (LimitStatus(GLOBAL, 5, 1), LimitStatus(API, 59, 60)), fields=both.fields).headers
    assert told == {"RateLimit-Policy": '"api";q=60;w=60', "RateLimit": '"api";r=59;t=60'}


def test_more_than_the_limit_is_never_less_than_nothing() -> None:
    decision = Decision(True, (LimitStatus(API, -3, 5),), fields=charges(API).fields)
    assert decision.headers["RateLimit"] == '"api";r=0;t=5'


def test_come_back_when_the_last_of_all_that_refused_has_a_place() -> None:
    statuses = (LimitStatus(BURST, 0, 1), LimitStatus(API, 0, 42), LimitStatus(DEFAULTS["ocr"], 9, 3000))
    decision = Decision(False, statuses, ("burst", "api"))
    assert (decision.retry_after_s, decision.headers["Retry-After"]) == (42, "42")
    assert "Retry-After" not in Decision(True, statuses).headers


def test_nobody_knows_when_a_place_becomes_free() -> None:
    assert Decision(False).retry_after_s == SLOT_RETRY_S


def test_a_refusal_from_memory_names_only_what_refused() -> None:
    decision = refused(charges(BURST, API), [(1, 17)])
    assert not decision.admitted
    assert decision.violated == ("api",)
    assert decision.raw_headers == [
        (b"retry-after", b"17"), (b"ratelimit-policy", b'"api";q=60;w=60'), (b"ratelimit", b'"api";r=0;t=17'),
    ]  # fmt: skip
    hidden = refused(charges(GLOBAL), [(0, 3)])
    assert hidden.raw_headers == [(b"retry-after", b"3")]


TENANT_API = DEFAULTS["tenant-api"]


def told(of_key: int, of_tenant: int) -> dict[str, str]:
    statuses = (LimitStatus(API, of_key, 9), LimitStatus(TENANT_API, of_tenant, 30))
    return Decision(True, statuses, fields=charges(API, TENANT_API).fields).headers


def test_a_tenants_limit_is_told_when_it_decides() -> None:
    for of_key, of_tenant in ((60, 600), (9, 10), (9, 9)):
        assert told(of_key, of_tenant)["RateLimit"] == f'"api";r={of_key};t=9'
        assert told(of_key, of_tenant)["RateLimit-Policy"] == '"api";q=60;w=60'
    for of_key, of_tenant in ((60, 59), (1, 0), (0, 0)):
        assert told(of_key, of_tenant)["RateLimit"] == f'"api";r={of_key};t=9, "tenant-api";r={of_tenant};t=30'
        assert told(of_key, of_tenant)["RateLimit-Policy"] == '"api";q=60;w=60, "tenant-api";q=600;w=60'


def test_a_tenants_limit_alone_is_told() -> None:
    decision = Decision(True, (LimitStatus(TENANT_API, 599, 30),), fields=charges(TENANT_API).fields)
    assert decision.headers == {
        "RateLimit-Policy": '"tenant-api";q=600;w=60',
        "RateLimit": '"tenant-api";r=599;t=30',
    }
    shadow = LimitStatus(TENANT_API.with_limit("shadow 5/min"), -2, 30)
    assert Decision(True, (shadow,)).headers == {}


def test_a_limit_of_tenants_that_stands_beside_none_of_a_key_is_told() -> None:
    alone = DEFAULTS["events-tenant"]
    decision = refused(charges(alone), [(0, 9)])
    assert decision.told == [alone]
    assert decision.headers["RateLimit"] == '"events-tenant";r=0;t=9'
    admitted = Decision(True, (LimitStatus(alone, 5, 9),), fields=charges(alone).fields)
    assert admitted.headers == {"RateLimit-Policy": alone.quota, "RateLimit": '"events-tenant";r=5;t=9'}


def test_who_is_refused_by_both_is_told_of_the_key_and_waits_for_both() -> None:
    decision = refused(charges(API, TENANT_API), [(0, 9), (1, 30)])
    assert [policy.name for policy in decision.told] == ["api"]
    assert decision.headers["Retry-After"] == "30"
    alone = refused(charges(API, TENANT_API), [(1, 30)])
    assert [policy.name for policy in alone.told] == ["tenant-api"]
    assert alone.headers["RateLimit"] == '"tenant-api";r=0;t=30'
