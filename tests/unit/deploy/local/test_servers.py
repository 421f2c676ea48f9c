"""Passwords and secret files of the servers on this machine."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.local import servers
from deploy.local.servers import new_password, password_of, write_secret


def test_a_secret_file_is_its_owners_alone_and_takes_the_place_of_an_open_one(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("an older and longer one, that everybody may read")
    path.chmod(0o666)
    write_secret(path, "hunter2")
    assert path.read_text() == "hunter2"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_secret_is_not_written_through_a_link_to_elsewhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("theirs")
    (tmp_path / "secret").symlink_to(elsewhere)
    write_secret(tmp_path / "secret", "hunter2")
    assert elsewhere.read_text() == "theirs"
    assert (tmp_path / "secret").read_text() == "hunter2"


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_services_password_is_the_same_each_time_and_tells_nothing_of_the_others(
    password: str, other: str
) -> None:
    mine = password_of("ocr", password)
    assert mine == password_of("ocr", password)
    assert mine != password_of("mailer", password)
    assert (mine == password_of("ocr", other)) == (password == other)
    assert len(mine) == 32
    assert mine.isalnum()


def test_new_passwords_need_no_quoting_and_differ() -> None:
    made = {new_password() for _ in range(100)}
    assert len(made) == 100
    assert all(password.isalnum() and len(password) >= 32 for password in made)


def test_a_package_that_is_missing_is_named_with_what_helps() -> None:
    with pytest.raises(servers.CannotRun, match=r"no_such_package is not installed: run `make setup`"):
        servers._wheel("no_such_package")
