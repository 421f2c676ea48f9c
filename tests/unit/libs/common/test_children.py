"""What processes beneath this one have used, whether they run or have ended."""

import subprocess
import sys

from libs.common import children
from tests.polling import until

BUSY = """
import subprocess, sys, time
if sys.argv[1] == "parent":
    subprocess.run([sys.executable, "-c", sys.argv[2], "child", ""])
    print("done", flush=True)
    sys.stdin.read()
else:
    while time.process_time() < 0.3: pass
"""


async def test_what_a_grandchild_used_counts_while_its_parent_runs_and_after_that() -> None:
    before = children.cpu_seconds()
    command = [sys.executable, "-c", BUSY, "parent", BUSY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"done\n"
        running = children.cpu_seconds()
        assert running - before >= 0.25
        assert parent.stdin is not None
        parent.stdin.close()
        parent.wait()

    async def counted() -> bool:
        return children.cpu_seconds() >= running - 0.05

    await until(counted)


def test_a_process_that_has_ended_has_used_nothing_more() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert children._times(gone.pid) == [0, 0, 0, 0]
