"""Passwords need no quoting, each service has its own, and files with them are their owner's alone."""

import stat
from pathlib import Path

from deploy.local.passwords import new_password, password_of, write_secret
from libs.common.contracts.services import SERVICES


def test_a_password_needs_no_quoting_and_is_another_each_time() -> None:
    passwords = {new_password() for _ in range(100)}
    assert len(passwords) == 100
    assert all(password.isalnum() and len(password) == 32 for password in passwords)


def test_each_service_has_its_own_and_keeps_it() -> None:
    server = new_password()
    passwords = {service.name: password_of(service.name, server) for service in SERVICES}
    assert len({server, *passwords.values()}) == len(SERVICES) + 1
    assert all(password_of(name, server) == password for name, password in passwords.items())
    assert password_of("gateway", new_password()) != passwords["gateway"]


def test_only_its_owner_reads_a_secret_and_nobody_a_half(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("old")
    path.chmod(0o644)
    write_secret(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
