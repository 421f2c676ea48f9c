"""How fast sync is, beside its limits."""
