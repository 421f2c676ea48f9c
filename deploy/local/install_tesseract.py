"""Installs Tesseract with apt, as no wheel contains it. Without root, it tells the user what to run."""

import os
import shutil
import subprocess

from deploy.local.errors import CannotRun

PACKAGE = "tesseract-ocr"


def ensure() -> None:
    """Install Tesseract if it is missing. Raises CannotRun with the command to run if this is not possible."""
    if shutil.which("tesseract"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise CannotRun(f"Tesseract is not installed. Run: sudo apt-get install {PACKAGE}")
    print(f"Tesseract is not installed: apt-get install {PACKAGE}", flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-q", "-y", PACKAGE]):
        if subprocess.run(command, env=environment, check=False).returncode:
            raise CannotRun(f"`{' '.join(command)}` failed; install {PACKAGE} by hand.")


if __name__ == "__main__":
    ensure()
