"""The HTTP API: knows who calls, enforces limits, turns requests into jobs, and answers for them."""
