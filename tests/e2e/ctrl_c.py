"""python -m tests.e2e.ctrl_c WORD COMMAND …: runs a command that goes on until Ctrl-C, and presses it.

It is pressed as soon as the command has printed WORD. The command must then end.
"""

import os
import signal
import subprocess
import sys

ENDS_WITHIN_S = 60


def main() -> None:
    """Exit with 1 if the command ends by itself."""
    word, *command = sys.argv[1:]
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    assert running.stdout is not None
    for line in running.stdout:
        sys.stdout.write(line)
        if word in line:
            break
    else:
        sys.exit(f"{' '.join(command)} ended before it said {word!r}")
    os.killpg(running.pid, signal.SIGINT)
    running.communicate(timeout=ENDS_WITHIN_S)


if __name__ == "__main__":
    main()
