"""A worker does not start where its sandbox would not confine, unless it is told that this is accepted."""

import pytest

from libs.common import config
from libs.common.sandbox import landlock, seccomp
from libs.common.sandbox.settings import SandboxSettings


def test_where_everything_is_there_nothing_needs_to_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "version", lambda: 1)
    monkeypatch.setattr(seccomp, "is_available", lambda: True)
    assert config.load(SandboxSettings).sandbox_confinement == "required"


@pytest.mark.parametrize(
    ("files", "calls", "said"),
    [(0, True, "no Landlock"), (7, False, "no seccomp filters"), (0, False, "no Landlock")],
)
def test_without_it_a_worker_says_what_is_missing_and_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], files: int, calls: bool, said: str
) -> None:
    monkeypatch.setattr(landlock, "version", lambda: files)
    monkeypatch.setattr(seccomp, "is_available", lambda: calls)
    with pytest.raises(SystemExit) as ended:
        config.load(SandboxSettings)
    assert ended.value.code == config.MISCONFIGURED_EXIT_CODE
    printed = capsys.readouterr().err
    assert said in printed
    assert "SANDBOX_CONFINEMENT=if-available" in printed
    monkeypatch.setenv("SANDBOX_CONFINEMENT", "if-available")
    assert config.load(SandboxSettings).sandbox_confinement == "if-available"
