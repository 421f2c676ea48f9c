"""Runs the images with Docker or Podman, confined as the manifests say."""

import asyncio
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.images.__main__ import builder
from deploy.k8s.rendering import Manifest, container_of, pod_of
from tests.unit.deploy.k8s.rules import size

RUNNERS = ("docker", "podman")


def confined(workload: Manifest, tool: str) -> Iterator[str]:
    """The options of `run` that confine a container as its manifest says. RuntimeDefault is what both tools do."""
    pod, container = pod_of(workload), container_of(workload)
    ids, rights = pod["securityContext"], container["securityContext"]
    assert ids["seccompProfile"] == {"type": "RuntimeDefault"}
    yield f"--user={ids['runAsUser']}:{ids['runAsGroup']}"
    yield f"--memory={size(container['resources']['limits']['memory'])}"
    yield from (f"--cap-drop={capability}" for capability in rights["capabilities"]["drop"])
    if not rights["allowPrivilegeEscalation"]:
        yield "--security-opt=no-new-privileges"
    if rights["readOnlyRootFilesystem"]:
        yield "--read-only"
        if tool == "podman":  # it would make /run and /var/tmp writable
            yield "--read-only-tmpfs=false"
    empty = {one["name"]: one["emptyDir"]["sizeLimit"] for one in pod["volumes"] if "emptyDir" in one}
    for mount in container["volumeMounts"]:
        if mount["name"] in empty:
            yield f"--tmpfs={mount['mountPath']}:rw,size={size(empty[mount['name']])},mode=1777"


@dataclass
class Containers:
    """What runs containers, and those that it runs. They are in the network of the machine."""

    tag: str
    tool: str = field(default_factory=lambda: builder(RUNNERS))
    _names: list[str] = field(default_factory=list)

    async def once(self, image: str, *command: str, options: Sequence[str] = (), program: str = "") -> str:
        """What a container prints that ends by itself, successfully. `program`: instead of the image's own."""
        started = ["run", "--rm", "--pull=never", "--network=host", *options]
        started += [f"--entrypoint={program}"] if program else []
        return await self._do(*started, f"argosy/{image}:{self.tag}", *command)

    async def start(self, name: str, image: str, options: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a container that goes on."""
        variables = [f"--env={variable}={value}" for variable, value in environment.items()]
        self._names.append(name)
        await self._do(
            "run", "--detach", f"--name={name}", "--pull=never", "--network=host", *options, *variables,
            f"argosy/{image}:{self.tag}",
        )  # fmt: skip

    async def inside(self, name: str, *command: str) -> str:
        """What a command prints that is run in a container."""
        return await self._do("exec", name, *command)

    async def log(self, name: str) -> str:
        """What a container has printed."""
        return await self._do("logs", name)

    async def runs(self, name: str) -> bool:
        """Whether it has not ended."""
        return (await self._do("inspect", "--format={{.State.Running}}", name)).strip() == "true"

    async def stop(self, name: str, within_s: int) -> int:
        """Its exit code after SIGTERM; 137 if it had to be killed."""
        await self._do("stop", f"--time={within_s}", name)
        return int(await self._do("inspect", "--format={{.State.ExitCode}}", name))

    async def remove_all(self) -> None:
        """Remove what was started."""
        await asyncio.to_thread(
            subprocess.run, [self.tool, "rm", "--force", *self._names], capture_output=True, check=False
        )

    async def _do(self, *arguments: str) -> str:
        done = await asyncio.to_thread(
            subprocess.run, [self.tool, *arguments], cwd=Path.cwd(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{self.tool} {arguments[0]}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout + (done.stderr if arguments[0] == "logs" else "")
