"""Nothing leads out of the sandbox: a corpus of escapes, tried from inside, as root and as an ordinary user."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from libs.common.sandbox import confinement
from tests.unit.libs.common.sandbox import escapes
from tests.unit.libs.common.sandbox.escapes import EXACTLY, NEWER, Surroundings

pytestmark = pytest.mark.skipif(bool(confinement.what_is_missing()), reason="this kernel cannot confine")

NOBODY = 65534
HERE = Surroundings(1, Path("secret"), Path("source"), Path("folder"))
ATTEMPTS = list(escapes._attempts(HERE))


@pytest.fixture(scope="module", params=["root", "ordinary user"])
def outcomes(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param == "root" and os.getuid() != 0:
        pytest.skip("not run by root")
    uid = 0 if request.param == "root" else os.getuid() or NOBODY
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        os.chown(folder, uid, -1)
        command = [sys.executable, "-m", "tests.unit.libs.common.sandbox.escaping", str(uid), folder]
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, str] = json.loads(ended.stdout)
    return found


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_an_escape_is_refused(outcomes: dict[str, str], attempt: str) -> None:
    assert outcomes[attempt] == EXACTLY.get(attempt, "EACCES")


def test_every_call_of_the_table_is_refused_by_the_kernel(outcomes: dict[str, str]) -> None:
    calls = {name.removeprefix("system call "): said for name, said in outcomes.items() if "system call " in name}
    assert len(calls) > 120
    assert calls == {name: "ENOSYS" if name in NEWER else "EACCES" for name in calls}


def test_what_the_work_needs_is_allowed_and_nothing_else_was_left(outcomes: dict[str, str]) -> None:
    assert outcomes["allowed"] == "second,shared"
    assert outcomes["left"] == "kept,shared"
    assert (outcomes["source"], outcomes["secret"], outcomes["victim"]) == ("source", "canary", "None")
