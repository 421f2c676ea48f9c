"""Passwords of the local servers and services, and files that only their owner can read."""

import hmac
import os
import secrets
from pathlib import Path


def new_password() -> str:
    """A password that needs no quoting anywhere."""
    return secrets.token_hex(16)


def password_of(service: str, password: str) -> str:
    """The password of a service, where `password` is that of the server."""
    return hmac.digest(password.encode(), service.encode(), "sha256").hex()[:32]


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read. A reader finds the old text or the new one, never a half."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    unfinished.replace(path)
