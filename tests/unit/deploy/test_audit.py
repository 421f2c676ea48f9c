"""A locked version with a known vulnerability fails the audit; and so does whatever cannot be read."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy import audit
from deploy.audit import CannotAudit, Finding, findings, pins_of, read_advisories

ROOT = Path(__file__).resolve().parents[3]
LOCK = """\
tide-tables==2.4.1 \\
    --hash=sha256:5a811826e1a5a06c25ebc3e6c4a704613eb9a1bcf6b78428fbe865f4f6c9a4b8
    # via argosy (pyproject.toml)
sextant[brass]==1.0rc1 ; sys_platform == 'win32' \\
    --hash=sha256:72c99179ba5aa9ae0abbda6994668239b64a5ce054471955fe75f581d2592475
"""


def advisory(name: str = "Tide_Tables", *events: dict[str, str], **more: Any) -> dict[str, Any]:
    """Of a package that nobody has published, in a range of versions."""
    affected = {
        "package": {"ecosystem": "PyPI", "name": name},
        "ranges": [{"type": "ECOSYSTEM", "events": list(events)}],
        **more.pop("affected", {}),
    }
    return {"schema_version": "1.7.0", "id": "ARGOSY-2030-1", "affected": [affected], **more}


SINCE_2 = ({"introduced": "2.0"}, {"fixed": "2.4.2"})


def found_in(*events: dict[str, str], **more: Any) -> list[Finding]:
    return findings(pins_of(LOCK), [advisory("Tide_Tables", *events, **more)])


def test_a_vulnerable_version_is_found_with_the_version_that_mends_it() -> None:
    (finding,) = found_in(*SINCE_2, aliases=["CVE-2030-1234"])
    assert finding == Finding("tide-tables", "2.4.1", "ARGOSY-2030-1", ("CVE-2030-1234",), ("2.4.2",))
    assert str(finding) == "tide-tables 2.4.1: ARGOSY-2030-1 (CVE-2030-1234), fixed in 2.4.2"


@pytest.mark.parametrize(
    ("events", "vulnerable"),
    [
        (({"introduced": "0"},), True),
        (({"introduced": "2.4.1"},), True),
        (({"introduced": "2.4.2"},), False),
        (({"introduced": "0"}, {"fixed": "2.4.1"}), False),
        (({"introduced": "0"}, {"fixed": "2.10"}), True),  # as versions, not as text
        (({"introduced": "0"}, {"last_affected": "2.4.1"}), True),
        (({"introduced": "0"}, {"last_affected": "2.4.0"}), False),
        (({"introduced": "0"}, {"fixed": "1.9"}, {"introduced": "2.4"}, {"fixed": "2.5"}), True),
        (({"introduced": "2.4"}, {"fixed": "2.5"}, {"introduced": "0"}, {"fixed": "1.9"}), True),
        (({"introduced": "0"}, {"fixed": "1.9"}, {"introduced": "2.5"}), False),
        ((), False),
    ],
)
def test_the_events_of_a_range_are_taken_in_order(events: tuple[dict[str, str], ...], vulnerable: bool) -> None:
    assert bool(found_in(*events)) is vulnerable


def test_versions_may_be_listed_and_some_of_them_odd() -> None:
    listed = advisory(affected={"ranges": [], "versions": ["2.4", "2004-spring", "2.4.1.0"]})
    assert [finding.fixed for finding in findings(pins_of(LOCK), [listed])] == [()]
    assert str(findings(pins_of(LOCK), [listed])[0]).endswith("there is no fixed version")


def test_what_is_withdrawn_or_of_others_does_not_count() -> None:
    assert found_in(*SINCE_2, withdrawn="2030-01-02T00:00:00Z") == []
    assert found_in(*SINCE_2, affected={"package": {"ecosystem": "npm", "name": "tide-tables"}}) == []
    assert findings(pins_of(LOCK), [advisory("tide-tables-extra", *SINCE_2)]) == []
    commits = {"ranges": [{"type": "GIT", "repo": "x", "events": [{"introduced": "0"}]}]}
    assert found_in(affected=commits) == []


def test_what_a_lock_has() -> None:
    assert pins_of(LOCK) == {"tide-tables": ["2.4.1"], "sextant": ["1.0rc1"]}
    twice = "".join(
        f"a=={version} ; python_version {where} '3.12'\n" for version, where in (("1", "<"), ("2", ">="))
    )
    assert pins_of(twice) == {"a": ["1", "2"]}
    whole = (ROOT / "requirements.lock").read_text()
    assert sum(map(len, pins_of(whole).values())) == len(re.findall(r"^\S+==", whole, re.M)) > 100


@pytest.mark.parametrize("lock", ["", "# nothing\n", f"{LOCK}loose>=1\n", f"{LOCK}git+https://a.test/b\n"])
def test_a_lock_that_pins_nothing_or_not_everything_is_refused(lock: str) -> None:
    with pytest.raises(CannotAudit):
        pins_of(lock)


def nothing(folder: Path) -> Path:
    return folder / "missing"


def empty(folder: Path) -> Path:
    (folder / "README.md").write_text("no advisories")
    return folder


def truncated(folder: Path) -> Path:
    (folder / "good.json").write_text(json.dumps(advisory()))
    (folder / "bad.json").write_text(json.dumps(advisory())[:-5])
    return folder


def of_another_kind(folder: Path) -> Path:
    (folder / "package.json").write_text('{"name": "tide-tables"}')
    return folder


def newer(folder: Path) -> Path:
    (folder / "a.json").write_text(json.dumps(advisory() | {"schema_version": "2.0.0"}))
    return folder


def broken_zip(folder: Path) -> Path:
    (folder / "all.zip").write_bytes(b"PK\x03\x04 and no more")
    return folder / "all.zip"


def senseless(folder: Path) -> Path:
    (folder / "a.json").write_text(json.dumps(advisory("tide-tables", {"introduced": "spring"})))
    return folder


UNREADABLE = (nothing, empty, truncated, of_another_kind, newer, broken_zip, senseless)


@pytest.mark.parametrize("made", UNREADABLE, ids=lambda made: made.__name__)
def test_a_database_that_cannot_be_read_is_no_pass(
    made: Callable[[Path], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lock, place = tmp_path / "a.lock", tmp_path / "advisories"
    lock.write_text(LOCK)
    place.mkdir()
    monkeypatch.setattr(sys, "argv", ["audit", str(lock), str(made(place))])
    assert audit.main() == 2
    assert "The audit could not be made: " in capsys.readouterr().err


def test_an_export_is_read_as_it_is(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for number in range(3):
            archive.writestr(f"A-{number}.json", json.dumps(advisory() | {"id": f"A-{number}"}))
    assert [found["id"] for found in read_advisories(tmp_path / "all.zip")] == ["A-0", "A-1", "A-2"]


@pytest.mark.parametrize(("fixed", "code"), [("2.4.2", 1), ("2.4.1", 0)])
def test_the_exit_code_says_whether_something_is_known(
    fixed: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.lock").write_text(LOCK)
    (tmp_path / "a.json").write_text(json.dumps(advisory("tide-tables", {"introduced": "0"}, {"fixed": fixed})))
    monkeypatch.setattr(sys, "argv", ["audit", str(tmp_path / "a.lock"), str(tmp_path)])
    assert audit.main() == code
    assert capsys.readouterr().out.endswith(f"2 locked versions, {code} known vulnerabilities.\n")


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.parametrize(("fixed", "code"), [("999!0", 1), ("0.0.1", 0)], ids=["vulnerable", "clean"])
def test_make_audit_fails_for_the_lock_of_this_project_if_one_pin_is_vulnerable(
    tmp_path: Path, fixed: str, code: int
) -> None:
    """An advisory for one of our own pins, as all versions before `fixed` would be vulnerable."""
    (version,) = pins_of((ROOT / "requirements.lock").read_text())["starlette"]
    made = advisory("starlette", {"introduced": "0"}, {"fixed": fixed})
    (tmp_path / "one.json").write_text(json.dumps(made))
    command = ["make", "--no-print-directory", "-o", "setup", "audit", f"ADVISORIES={tmp_path}"]
    command.append(f"RUN={sys.executable}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode != 0) == bool(code), ended.stderr
    named = f"starlette {version}: ARGOSY-2030-1, fixed in {fixed}"
    assert (named in ended.stdout) == bool(code)
    assert "known vulnerabilities." in ended.stdout
