"""What is remembered from one command to the next."""

import json
import socket
import stat
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest

from deploy.local import state
from deploy.local.errors import CannotRun
from deploy.local.state import Started


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state, "RUN", tmp_path / "run")
    monkeypatch.setattr(state, "LOGS", tmp_path / "run" / "logs")
    return tmp_path / "run"


def test_it_is_read_as_it_was_written(folder: Path) -> None:
    first = state.load()
    first.settings, first.scale, first.gateway_port = {"LIMITS": "api=off"}, {"ocr": 3}, 8081
    first.started = {"ocr": Started("4dfe942", "a", "b", {"LIMITS": "c"})}
    first.save()
    assert state.load() == first
    assert (folder / "state.json").stat().st_mode & 0o077 == 0


def test_an_earlier_version_kept_less_and_a_later_one_more(folder: Path) -> None:
    state.load()
    stored = json.loads((folder / "state.json").read_text())
    for name in ("gateway_port", "settings", "scale", "started"):
        del stored[name]
    (folder / "state.json").write_text(json.dumps(stored | {"of_tomorrow": 1}))
    assert state.load().gateway_port == 8080
    (folder / "dev.env").write_text("export ARGOSY_URL='http://127.0.0.1:18090'\n")
    read = state.load()
    assert (read.gateway_port, read.settings, read.scale, read.started) == (18090, {}, {}, {})
    assert read.password == stored["password"]


def test_what_cannot_be_read_is_not_thrown_away(folder: Path) -> None:
    state.load()
    (folder / "state.json").write_text("{")
    with pytest.raises(CannotRun, match="cannot be read"):
        state.load()
    assert (folder / "state.json").read_text() == "{"


def test_a_shell_reads_what_was_written_and_keeps_what_it_has(folder: Path) -> None:
    state.load()
    state.write_environment("ocr.env", {"A": "it's $HOME"}, {"B": "ours", "C": "ours"})
    script = f'. {folder}/ocr.env; printf "%s|" "$A" "$B" "$C"'
    shell = subprocess.run(["sh", "-euc", script], env={"B": "mine"}, capture_output=True, text=True, check=True)
    assert shell.stdout == "it's $HOME|mine|ours|"


def test_nobody_else_can_look_into_it(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    state.load().save()
    state.write_environment("ocr.env", {"DATABASE_URL": "postgresql://u:secret@h/d"})
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("state.json", "ocr.env"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_ports_that_others_have_taken_are_exchanged_and_the_rest_stays() -> None:
    remembered = state.load()
    before = asdict(remembered)
    with socket.create_server(("127.0.0.1", remembered.redis_port)):
        state.refresh_ports(remembered, ())
    after = asdict(remembered)
    assert {name for name in before if before[name] != after[name]} == {
        "redis_port",
        "smtp_port",
        "mail_page_port",
    }
    state.refresh_ports(remembered, ())
    assert asdict(remembered) == after


def test_a_port_that_a_program_of_ours_listens_at_is_kept() -> None:
    remembered = state.load()
    port = remembered.redis_port
    with socket.create_server(("127.0.0.1", port)):
        state.refresh_ports(remembered, ("redis",))
    assert remembered.redis_port == port


def test_a_shell_reads_what_was_written_whatever_is_in_it(folder: Path) -> None:
    folder.mkdir()
    value = """postgresql://u:it's $(touch evil) `touch evil` "x" \\ é@h/d"""
    state.write_environment("ocr.env", {"DATABASE_URL": value, "EMPTY": ""})
    script = '. ./ocr.env && printf "%s|%s" "$DATABASE_URL" "$EMPTY"'
    read = subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    assert read.stdout == f"{value}|"
    assert not (folder / "evil").exists()
