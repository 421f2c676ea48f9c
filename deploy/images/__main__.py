"""make images: build the image of each service, and push them if PUSH= names a registry.

What is pushed is printed as the overlays take it: a name and a digest.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from deploy.local import version
from libs.common.contracts.services import SERVICES

ROOT = Path(__file__).parents[2]
IMAGES = (*(service.name for service in SERVICES), "migrations")
BUILDERS = ("docker", "podman", "buildah")
"""The client of Docker counts only if its daemon answers."""


class CannotBuild(Exception):
    """There is no builder, or it failed; the message says which."""


def builder(among: Sequence[str] = BUILDERS) -> str:
    """The first that works here. Raises CannotBuild."""
    for name in among:
        if (
            shutil.which(name)
            and not subprocess.run([name, "version"], capture_output=True, check=False).returncode
        ):
            return name
    raise CannotBuild(f"None of {', '.join(among)} is installed and works.")


def build(tool: str, image: str, tag: str, options: Sequence[str] = ()) -> str:
    """Build an image, and return its name. Raises CannotBuild."""
    name = f"argosy/{image}:{tag}"
    command = [tool, "build", "--build-arg", f"SERVICE={image}"]
    command += ["--build-arg", f"ARGOSY_VERSION={version.checked_out()}"]
    command += ["--file", "deploy/Dockerfile", "--tag", name]
    _run([*command, *options, "."], output=sys.stderr)
    return name


def push(tool: str, name: str, registry: str) -> str:
    """Push an image to `registry`, as registry.example.com/argosy, and return its digest. Raises CannotBuild."""
    target = f"{registry}/{name.removeprefix('argosy/')}"
    if tool == "docker":
        _run(["docker", "tag", name, target])
        _run(["docker", "push", target], output=sys.stderr)
        known = _run(["docker", "inspect", "--format", '{{join .RepoDigests "\\n"}}', target]).split()
        (digest,) = (one.partition("@")[2] for one in known if one.startswith(f"{target.rpartition(':')[0]}@"))
        return digest
    with tempfile.NamedTemporaryFile() as file:
        _run([tool, "push", "--digestfile", file.name, name, f"docker://{target}"])
        return Path(file.name).read_text().strip()


def _run(command: Sequence[str], *, output: int | TextIO = subprocess.PIPE) -> str:
    """What the command prints on stdout; an empty text if that goes to another `output`. Raises CannotBuild."""
    done = subprocess.run(command, cwd=ROOT, stdout=output, text=True, check=False)
    if done.returncode:
        raise CannotBuild(f"`{' '.join(command)}` failed with exit status {done.returncode}.")
    return done.stdout or ""


def main() -> None:
    """Parse the command line. Options after `--` are the builder's own, such as --secret."""
    parser = argparse.ArgumentParser(prog="python -m deploy.images")
    parser.add_argument("--tag", default="dev")
    parser.add_argument("--push", metavar="REGISTRY", help="for example registry.example.com/argosy")
    parser.add_argument("--only", choices=IMAGES, action="append", help="this image; may be given again")
    parser.add_argument("options", nargs="*", help="options of the builder")
    given = parser.parse_args()
    try:
        tool = builder()
        for image in given.only or IMAGES:
            name = build(tool, image, given.tag, given.options)
            if given.push:
                digest = push(tool, name, given.push)
                print(
                    f'  - {{name: argosy/{image}, newName: {given.push}/{image}, digest: "{digest}"}}', flush=True
                )
            else:
                print(name, flush=True)
    except CannotBuild as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
