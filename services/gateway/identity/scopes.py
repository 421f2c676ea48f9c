"""Authorization. Every operation needs one scope; a role is a set of scopes, and a key may have fewer.

Queues and tenants belong to the whole fleet, not to one tenant. So their scopes are in no role: only the command
line, or a caller who has them, can give them to a key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from services.gateway.limits.policies import Policy


class Scope(StrEnum):
    """A permission that an operation needs."""

    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    OCR_WRITE = "ocr:write"
    MAIL_READ = "mail:read"
    MAIL_WRITE = "mail:write"
    EVENTS_READ = "events:read"
    EVENTS_WRITE = "events:write"
    EVENTS_MANAGE = "events:manage"
    SYNC_READ = "sync:read"
    SYNC_WRITE = "sync:write"
    EXPORTS_WRITE = "exports:write"
    EXPORTS_ALL = "exports:all"
    SCHEDULES_READ = "schedules:read"
    SCHEDULES_WRITE = "schedules:write"
    LIMITS_READ = "limits:read"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    QUEUES_READ = "queues:read"
    QUEUES_WRITE = "queues:write"
    TENANTS_READ = "tenants:read"
    TENANTS_WRITE = "tenants:write"


class Role(StrEnum):
    """A named set of scopes; see ROLES."""

    ADMIN = "admin"
    MEMBER = "member"
    READ = "read"


Scopes = frozenset[Scope]

_READ = frozenset(
    {
        Scope.JOBS_READ,
        Scope.MAIL_READ,
        Scope.EVENTS_READ,
        Scope.SYNC_READ,
        Scope.SCHEDULES_READ,
        Scope.LIMITS_READ,
    }
)
_MEMBER = _READ | {
    Scope.JOBS_WRITE,
    Scope.OCR_WRITE,
    Scope.MAIL_WRITE,
    Scope.EVENTS_WRITE,
    Scope.SYNC_WRITE,
    Scope.EXPORTS_WRITE,
    Scope.SCHEDULES_WRITE,
}
ROLES: Mapping[Role, Scopes] = {
    Role.READ: _READ,
    Role.MEMBER: _MEMBER,
    Role.ADMIN: _MEMBER | {Scope.EVENTS_MANAGE, Scope.EXPORTS_ALL, Scope.KEYS_READ, Scope.KEYS_WRITE},
}
PUBLIC: Scopes = frozenset({Scope.EVENTS_WRITE})
"""A key with exactly these may be shown to everybody, such as in the source of a page."""
OPERATOR: Scopes = frozenset({Scope.QUEUES_READ, Scope.QUEUES_WRITE, Scope.TENANTS_READ, Scope.TENANTS_WRITE})


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. `user` is a key or a token's subject, `tenant` owns the jobs and has `policies`."""

    user: str
    tenant: str
    role: Role
    scopes: Scopes
    policies: Mapping[str, Policy]

    @property
    def is_public(self) -> bool:
        """Whether anybody may have the key, so that it says nothing about who calls."""
        return self.scopes == PUBLIC

    def lacks(self, role: Role, scopes: Scopes | None) -> list[str]:
        """What a key with `role` and `scopes` (None: all of the role) has and this caller does not.

        Whoever lacks something may not make such a key, nor change one that somebody else has.
        """
        wanted = ROLES[role] if scopes is None else scopes
        role_lacks = [] if ROLES[role] <= ROLES[self.role] else [f"the role {role}"]
        return role_lacks + [f"the scope {scope}" for scope in sorted(wanted - self.scopes)]
