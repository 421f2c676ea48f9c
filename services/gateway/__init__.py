"""The HTTP API: authenticates callers, enforces limits, turns requests into jobs, and reports on them."""
