"""Roles and scopes: who may do more may do all of the less, and the fleet is nobody's by role."""

from itertools import pairwise

from services.gateway.identity.scopes import OPERATOR, ROLES, Principal, Role, Scope, Scopes
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
    assert set(Scope) == {one.scope for one in OPERATIONS if one.scope is not None}


def test_what_changes_something_is_not_for_who_only_reads() -> None:
    for one in OPERATIONS:
        if one.scope is not None and one.method != "GET":
            assert one.scope.endswith(":write"), one.path


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
