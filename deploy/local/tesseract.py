"""Tesseract is the one thing that no wheel brings: installed by apt where we may, asked for where not."""

import os
import shutil
import subprocess

from deploy.local.errors import CannotRun

PACKAGE = "tesseract-ocr"


def ensure() -> None:
    """Have Tesseract, or say how to get it. Raises CannotRun."""
    if shutil.which("tesseract"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise CannotRun(f"Tesseract is not installed. Run: sudo apt-get install {PACKAGE}")
    print(f"Tesseract is not installed: apt-get install {PACKAGE}", flush=True)
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-q", "-y", PACKAGE]):
        if subprocess.run(command, env=quiet, check=False).returncode:
            raise CannotRun(f"`{' '.join(command)}` failed; install {PACKAGE} by hand.")


if __name__ == "__main__":
    ensure()
