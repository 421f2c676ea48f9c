"""python -m tests.unit.libs.common.sandbox.escaping UID FOLDER: tries all escapes as that user, and prints JSON.

To become an ordinary user, root keeps the right to read all files for this process and its fork server, since the
interpreter may lie where that user cannot read. The sandbox takes this right away.
"""

import asyncio
import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

from libs.common.errors import ArgosyError
from libs.common.sandbox import Limits, Refusals, Sandbox
from libs.common.sandbox.seccomp import prctl
from tests.unit.libs.common.sandbox.escapes import Surroundings, read_and_write, try_all

KEEP_CAPABILITIES, SET_DUMPABLE, AMBIENT, RAISE = 8, 4, 47, 2
DAC_READ_SEARCH = 2
CAPABILITY_VERSION_3 = 0x20080522


def become(uid: int) -> None:
    """Become that ordinary user, who may still read all files."""
    prctl(KEEP_CAPABILITIES, 1)
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    kept = 1 << DAC_READ_SEARCH
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    assert not ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)(kept, kept, kept))
    prctl(AMBIENT, RAISE, DAC_READ_SEARCH)
    prctl(SET_DUMPABLE, 1)


async def escape(folder: Path) -> dict[str, str]:
    """Try everything from a sandbox."""
    (folder / "others").mkdir()
    here = Surroundings(0, folder / "others" / "secret", folder / "source", folder / "scratch")
    here.secret.write_text("canary")
    here.source.write_text("source")
    here.folder.mkdir()
    with subprocess.Popen(["/bin/sleep", "600"]) as victim:
        try:
            here = Surroundings(victim.pid, here.secret, here.source, here.folder)
            refusals = Refusals(ArgosyError, ArgosyError, ArgosyError)
            sandbox = Sandbox(Limits(1024**3, 60.0), refusals, package="tests.unit", preload=[])
            sandbox = sandbox.reading(here.source).writing(here.folder)
            found = await sandbox.run(try_all, here)
            found["allowed"] = await sandbox.run(read_and_write, here)
            found["left"] = ",".join(sorted(path.name for path in here.folder.iterdir()))
            found["source"], found["secret"] = here.source.read_text(), here.secret.read_text()
            found["victim"] = str(victim.poll())
        finally:
            victim.kill()
    return found


if __name__ == "__main__":
    if os.getuid() != int(sys.argv[1]):
        become(int(sys.argv[1]))
    print(json.dumps(asyncio.run(escape(Path(sys.argv[2])))))
