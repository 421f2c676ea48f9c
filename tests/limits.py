"""For tests that are about something else: no rate limits."""

from services.gateway.limits.policies import DEFAULTS

NO_LIMITS = ", ".join(f"{name}=off" for name in DEFAULTS)
