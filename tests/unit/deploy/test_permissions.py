"""The accounts and logins that are printed for servers of one's own."""

import hashlib
import json
import re
import sys
from typing import Any

import pytest

from deploy import permissions
from deploy.permissions import nats_accounts, postgres_logins
from libs.common.contracts.services import SERVICES


def accounts(text: str) -> dict[str, Any]:
    """What the configuration of NATS says; it is JSON but for its first word."""
    found: dict[str, Any] = json.loads(text.removeprefix("accounts: "))
    return found


def quoted(service: str) -> str:
    return f'"of {service}"'


def test_each_service_has_one_user_with_its_own_password() -> None:
    users = [user for account in accounts(nats_accounts(quoted)).values() for user in account["users"]]
    assert {user["user"]: user["password"] for user in users} == {
        service.name: f"of {service.name}" for service in SERVICES
    }
    assert len(users) == len(SERVICES)


def test_only_an_operator_that_is_asked_for_may_do_everything() -> None:
    for operator, unlimited in ((None, []), ('"of all"', [("argosy", "of all")])):
        users = accounts(nats_accounts(quoted, operator=operator))["fleet"]["users"]
        found = [(user["user"], user["password"]) for user in users if "permissions" not in user]
        assert found == unlimited


def test_what_one_account_imports_another_exports_to_it() -> None:
    found = accounts(nats_accounts(quoted))
    for name, account in found.items():
        for imported in account["imports"]:
            (source,) = (value for value in imported.values())
            exports = found[source["account"]]["exports"]
            subjects = {export.get("service", export.get("stream")): export["accounts"] for export in exports}
            assert (source["subject"], name) in {(subject, one) for subject, to in subjects.items() for one in to}


def test_logins_inherit_nothing_and_are_nobody_by_themselves() -> None:
    logins = postgres_logins(lambda service: f"'{service}'")
    assert len(logins) == len(SERVICES)
    for login, statement in logins.items():
        assert statement.startswith(f"CREATE ROLE {login} LOGIN NOINHERIT PASSWORD '")
        assert not re.search("SUPERUSER|CREATEROLE|CREATEDB|BYPASSRLS", statement)


@pytest.mark.parametrize(("what", "place"), [("nats", "$NATS_{}_PASSWORD"), ("postgres", ":'{}_password'")])
def test_no_password_is_printed_but_where_it_comes_from(
    what: str, place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["permissions", what])
    permissions.main()
    printed = capsys.readouterr().out
    for service in (row.name for row in SERVICES):
        assert printed.count(place.format(service.upper() if what == "nats" else service)) == 1


def test_users_of_redis_are_printed_with_the_hashes_of_their_passwords(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["permissions", "redis"])
    users = [row.name for row in SERVICES if row.redis is not None]
    for user in users:
        monkeypatch.setenv(f"REDIS_{user.upper()}_PASSWORD", f"hush-{user}")
    permissions.main()
    printed = capsys.readouterr().out
    assert [line.split()[:2] for line in printed.splitlines()] == [["user", user] for user in users]
    for user, line in zip(users, printed.splitlines(), strict=True):
        assert f" on #{hashlib.sha256(f'hush-{user}'.encode()).hexdigest()} resetchannels ~argosy:" in line
    assert "hush" not in printed


def test_a_password_of_redis_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["permissions", "redis"])
    monkeypatch.setenv("REDIS_GATEWAY_PASSWORD", "hush")
    monkeypatch.delenv("REDIS_MAILER_PASSWORD", raising=False)
    with pytest.raises(SystemExit, match=r"users: REDIS_MAILER_PASSWORD$"):
        permissions.main()


@pytest.mark.parametrize("arguments", [[], ["mysql"], ["nats", "postgres"]])
def test_anything_else_prints_the_usage_and_fails(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["permissions", *arguments])
    with pytest.raises(SystemExit, match=r"python -m deploy\.permissions nats"):
        permissions.main()
