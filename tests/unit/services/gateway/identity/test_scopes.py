"""Roles and scopes: who may do more may do all of the less, and the fleet is nobody's by role."""

from itertools import pairwise

from services.gateway.identity.scopes import OPERATOR, PUBLIC, ROLES, Principal, Role, Scope, Scopes
from services.gateway.routes import OPERATIONS


def test_each_role_may_do_what_the_one_below_may_and_more() -> None:
    for less, more in pairwise((Role.READ, Role.MEMBER, Role.ADMIN)):
        assert ROLES[less] < ROLES[more]


def test_who_only_reads_writes_nothing() -> None:
    assert all(scope.endswith(":read") for scope in ROLES[Role.READ])


def test_queues_and_tenants_are_in_no_role() -> None:
    assert not OPERATOR & frozenset().union(*ROLES.values())
    assert {scope.split(":")[0] for scope in OPERATOR} == {"queues", "tenants"}


def test_keys_are_for_admins() -> None:
    for role in (Role.READ, Role.MEMBER):
        assert not {Scope.KEYS_READ, Scope.KEYS_WRITE} & ROLES[role]


def test_every_scope_is_somebodys_and_opens_something() -> None:
    assert set(Scope) == OPERATOR.union(*ROLES.values())
    opened = {one.scope for one in OPERATIONS if one.scope is not None}
    assert set(Scope) == opened | {Scope.EXPORTS_ALL}, "one dataset of an operation needs that"


ONLY_ASKING = {
    "/v1/analytics/query",
    "/v1/analytics/reports",
    "/v1/opportunities/match",
    "/v1/jobs/{id}/artifacts/{name}/link",  # it writes nothing: the link is signed
}
"""Their questions are too long for a URL."""


def test_what_changes_something_is_not_for_who_only_reads() -> None:
    for one in OPERATIONS:
        if one.scope is not None and one.method != "GET" and one.path not in ONLY_ASKING:
            assert one.scope.endswith((":write", ":manage")), one.path
            assert one.scope not in ROLES[Role.READ]


def test_a_public_key_has_one_scope_and_there_is_one_operation_for_it() -> None:
    assert holder(Role.MEMBER, frozenset({Scope.EVENTS_WRITE})).is_public
    assert holder(Role.ADMIN, frozenset({Scope.EVENTS_WRITE})).is_public
    assert not holder(Role.MEMBER, frozenset({Scope.EVENTS_WRITE, Scope.EVENTS_READ})).is_public
    assert not any(holder(role).is_public for role in Role)
    for_it = [one for one in OPERATIONS if one.scope in PUBLIC]
    assert [(one.method, one.path) for one in for_it] == [("POST", "/v1/events")]
    assert for_it == [one for one in OPERATIONS if one.public_limits]


def holder(role: Role, scopes: Scopes | None = None) -> Principal:
    return Principal("key", "acme", role, ROLES[role] if scopes is None else scopes, {})


def test_what_one_lacks_is_named() -> None:
    admin, keeper = holder(Role.ADMIN), holder(Role.ADMIN, frozenset({Scope.KEYS_WRITE}))
    for role in Role:
        assert admin.lacks(role, None) == []
        assert holder(role).lacks(role, frozenset({Scope.JOBS_READ})) == []
    assert admin.lacks(Role.ADMIN, ROLES[Role.ADMIN] | {Scope.QUEUES_READ}) == ["the scope queues:read"]
    assert keeper.lacks(Role.READ, frozenset({Scope.KEYS_WRITE})) == []
    assert keeper.lacks(Role.READ, None) == [f"the scope {scope}" for scope in sorted(ROLES[Role.READ])]
    assert holder(Role.MEMBER).lacks(Role.ADMIN, frozenset({Scope.JOBS_READ})) == ["the role admin"]
