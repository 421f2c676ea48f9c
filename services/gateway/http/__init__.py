"""The HTTP layer that every request passes: middleware, admission, and how operations are described."""
