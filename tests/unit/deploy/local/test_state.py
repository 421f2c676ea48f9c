"""What is remembered between two starts of the fleet, and exchanged where it no longer holds."""

import socket
import stat
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest

from deploy.local import state
from deploy.local.servers import CannotRun
from deploy.local.test_servers import free_port


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this fleet's state is."""
    monkeypatch.setattr(state, "RUN", tmp_path / "run")
    monkeypatch.setattr(state, "LOGS", tmp_path / "run" / "logs")
    monkeypatch.setattr(state, "GATEWAY_PORT", free_port())
    return tmp_path / "run"


def test_the_next_start_finds_what_the_first_one_chose(folder: Path) -> None:
    first = state.load()
    first.key = "a key"
    first.save()
    assert state.load() == first
    assert first.mail_secret != first.password


def test_nobody_else_can_look_into_it(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    state.load()
    state.write_environment("ocr.env", {"DATABASE_URL": "postgresql://u:secret@h/d"})
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("state.json", "ocr.env"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_a_state_from_before_mail_was_caught_is_still_read(folder: Path) -> None:
    old = {"password": "p", "postgres_port": 1, "redis_port": 2, "nats_port": 3, "metrics_port": 4}
    folder.mkdir()
    (folder / "state.json").write_text(str(old).replace("'", '"'))
    loaded = state.load()
    assert (loaded.key, loaded.smtp_port, loaded.redis_port) == (None, 0, 2)
    assert loaded.mail_secret


def test_ports_that_others_have_taken_are_exchanged_and_the_rest_stays() -> None:
    remembered = state.load()
    before = asdict(remembered)
    with socket.create_server(("127.0.0.1", remembered.redis_port)):
        state.refresh_ports(remembered)
    after = asdict(remembered)
    assert {name for name in before if before[name] != after[name]} == {
        "redis_port",
        "smtp_port",
        "mail_page_port",
    }
    assert state.load() == remembered, "and that is remembered"
    state.refresh_ports(remembered)
    assert asdict(remembered) == after


def test_a_gateways_port_that_is_taken_is_not_exchanged_in_silence() -> None:
    remembered = state.load()
    with socket.create_server(("127.0.0.1", state.GATEWAY_PORT)), pytest.raises(CannotRun, match="ARGOSY_PORT="):
        state.refresh_ports(remembered)


def test_a_shell_reads_what_was_written_whatever_is_in_it(folder: Path) -> None:
    folder.mkdir()
    value = """postgresql://u:it's $(touch evil) `touch evil` "x" \\ é@h/d"""
    state.write_environment("ocr.env", {"DATABASE_URL": value, "EMPTY": ""})
    script = '. ./ocr.env && printf "%s|%s" "$DATABASE_URL" "$EMPTY"'
    read = subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    assert read.stdout == f"{value}|"
    assert not (folder / "evil").exists()
