"""Charges to subjects that nobody else has."""

from itertools import count

from services.gateway.limits.policies import Charge, Charges, Per, Policy

PATIENT_S = 2.0
"""A budget that no busy machine exceeds: these tests are about Redis's decisions."""

_users = count()


def new_user() -> str:
    """Nobody has asked for it before."""
    return f"user-{next(_users)}"


def charged(*figures: tuple[str, int, int], shadow: str = "") -> Charges:
    """All of one user; each figure is a name, a limit and a window in seconds."""
    user = new_user()
    policies = [
        Policy(name, Per.USER, limit, window_s, shadow=name == shadow) for name, limit, window_s in figures
    ]
    return Charges(Charge.of(policy, user) for policy in policies)
