"""One real node of Kubernetes 1.20, and a registry, in the namespaces that `make cluster-test` makes.

No network leads out of them. With the first process in them the kernel ends all the others, daemons and
containers, and removes mounts and addresses. What the node writes is in one folder.
"""

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.k8s.rendering import kubectl_path

HERE = Path(__file__).parent
ADDRESS = "10.213.8.1"
SERVICE_NETWORK = "10.213.0.0/24"
POD_NETWORK = "10.213.9.0/24"
API_PORT = 6443
REGISTRY = "registry.example.com"
"""As in the manifests; its address is 127.0.0.1 here, and its port 80."""
DOMAIN = "cluster.local"
STARTS_WITHIN_S = 300.0
WRITTEN_BY_KUBELET = (
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/panic_on_oom",
    "/proc/sys/kernel/panic",
    "/proc/sys/kernel/panic_on_oops",
)
"""Settings of the whole machine: the kubelet is given files in their place."""
WRITTEN_BY_CONTAINERS = ("/run/containerd", "/run/netns", "/var/lib/cni", "/var/log/pods", "/var/log/containers")


class NotReady(Exception):
    """A part of the node does not come up; the message has the end of its log."""


@dataclass(frozen=True)
class Node:
    """Where the node is."""

    folder: Path
    programs: Path
    token: str

    @property
    def kubeconfig(self) -> Path:
        """kubectl's configuration, with every right."""
        return self.folder / "kubeconfig"

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """What kubectl prints. Raises AssertionError with what it says."""
        command = [kubectl_path(), f"--kubeconfig={self.kubeconfig}", *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def ctr(self, *arguments: str) -> str:
        """What containerd's own client prints."""
        command = [str(self.programs / "ctr"), f"--address={self.folder}/containerd.sock", "--namespace=k8s.io"]
        return subprocess.run([*command, *arguments], capture_output=True, text=True, check=True).stdout


@contextmanager
def running(folder: Path, programs: Path) -> Iterator[Node]:
    """A node that is ready. `programs` is what node.sh made. Raises NotReady."""
    node = Node(folder, programs / "usr" / "bin", secrets.token_hex(16))
    _keep_from_the_machine(folder)
    _make_network(folder)
    _write_settings(node, programs)
    daemons: list[subprocess.Popen[bytes]] = []
    os.environ["PATH"] = f"{node.programs}:{programs}/usr/sbin:{os.environ['PATH']}"
    before = _control_groups()
    try:
        for name, command, is_up in _daemons(node):
            with (folder / f"{name}.log").open("wb") as log:
                daemons.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=folder))
            _wait(name, daemons[-1], folder, is_up)
        yield node
    finally:
        for daemon in reversed(daemons):
            daemon.kill()
            daemon.wait()
        _remove_control_groups(_control_groups() - before)


def _keep_from_the_machine(folder: Path) -> None:
    for number, setting in enumerate(WRITTEN_BY_KUBELET):
        copy = folder / f"setting-{number}"
        copy.write_text(Path(setting).read_text())
        _run("mount", "--bind", str(copy), setting)
    for place in WRITTEN_BY_CONTAINERS:
        Path(place).mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "tmpfs", place)


def _make_network(folder: Path) -> None:
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {REGISTRY}\n")
    _run("mount", "--bind", str(hosts), "/etc/hosts")
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "link", "add", "node", "type", "veth", "peer", "name", "nowhere")
    _run("ip", "address", "add", f"{ADDRESS}/24", "dev", "node")
    for device in ("node", "nowhere"):
        _run("ip", "link", "set", device, "up")
    _run("ip", "route", "add", "default", "dev", "node")  # Kubernetes wants one; it leads nowhere
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _write_settings(node: Node, programs: Path) -> None:
    folder = node.folder
    (folder / "cni").mkdir()
    for template in (HERE / "settings").iterdir():
        text = template.read_text()
        for name, value in {
            "FOLDER": folder, "PROGRAMS": programs, "ADDRESS": ADDRESS, "PODS": POD_NETWORK, "REGISTRY": REGISTRY,
            "DOMAIN": DOMAIN,
        }.items():  # fmt: skip
            text = text.replace(f"@{name}@", str(value))
        (folder / ("cni/node.conflist" if template.suffix == ".conflist" else template.name)).write_text(text)
    _run("openssl", "genrsa", "-out", str(folder / "accounts.key"), "2048")
    (folder / "tokens.csv").write_text(f"{node.token},admin,admin,system:masters\n")
    cluster = {"server": f"https://127.0.0.1:{API_PORT}", "insecure-skip-tls-verify": True}
    entries = {"clusters": ("cluster", cluster), "users": ("user", {"token": node.token})}
    entries["contexts"] = ("context", {"cluster": "node", "user": "node"})
    kubeconfig = {kind: [{"name": "node", one: value}] for kind, (one, value) in entries.items()}
    (folder / "kubeconfig").write_text(json.dumps(kubeconfig | {"current-context": "node", "kind": "Config"}))


def _daemons(node: Node) -> Iterator[tuple[str, list[str], Callable[[], bool]]]:
    """Name, command, and whether it is up, in the order in which they are started."""
    folder, api = node.folder, f"--kubeconfig={node.kubeconfig}"
    etcd, client, socket = str(folder / "etcd"), "http://127.0.0.1:2379", f"unix://{folder}/containerd.sock"
    yield "registry", ["docker-registry", "serve", "registry.yaml"], lambda: _answers(f"http://{REGISTRY}/v2/")
    yield "containerd", ["containerd", "--config=containerd.toml"], (folder / "containerd.sock").exists
    yield (
        "etcd", ["etcd", "--data-dir", etcd, "--unsafe-no-fsync"],
        lambda: _answers(f"{client}/health"),
    )  # fmt: skip
    yield (
        "kube-apiserver",
        [
            "kube-apiserver", f"--etcd-servers={client}", "--cert-dir=certificates", f"--secure-port={API_PORT}",
            f"--advertise-address={ADDRESS}", f"--service-cluster-ip-range={SERVICE_NETWORK}",
            "--service-account-issuer=https://kubernetes.default.svc", "--authorization-mode=RBAC",
            "--service-account-key-file=accounts.key", "--service-account-signing-key-file=accounts.key",
            "--token-auth-file=tokens.csv", "--kubelet-preferred-address-types=InternalIP",
        ],
        lambda: _says(node, "ok", "get", "--raw=/readyz"),
    )  # fmt: skip
    yield (
        "kube-controller-manager",
        [
            "kube-controller-manager", api, "--service-account-private-key-file=accounts.key",
            "--leader-elect=false", "--horizontal-pod-autoscaler-use-rest-clients=true",
        ],
        lambda: _says(node, "default", "get", "serviceaccounts"),
    )  # fmt: skip
    yield "kube-scheduler", ["kube-scheduler", api, "--leader-elect=false"], lambda: True
    yield (
        "kubelet",
        [
            "kubelet", api, "--config=kubelet.yaml", f"--root-dir={folder}/kubelet", f"--node-ip={ADDRESS}",
            "--container-runtime=remote", f"--container-runtime-endpoint={socket}", "--hostname-override=node",
        ],
        lambda: _says(node, " Ready ", "get", "nodes"),
    )  # fmt: skip
    yield (
        "kube-proxy",
        [
            "kube-proxy", api, f"--cluster-cidr={POD_NETWORK}", "--proxy-mode=iptables",
            "--hostname-override=node", "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
        ],
        lambda: "KUBE-SERVICES" in _run("iptables-save", "-t", "nat"),
    )  # fmt: skip


def _wait(name: str, daemon: subprocess.Popen[bytes], folder: Path, is_up: Callable[[], bool]) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while not is_up():
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise NotReady(f"{name}:\n{(folder / f'{name}.log').read_text()[-3000:]}")
        time.sleep(0.2)


def _answers(url: str) -> bool:
    return not subprocess.run(
        ["curl", "-fsS", "-o", "/dev/null", url], capture_output=True, check=False
    ).returncode


def _says(node: Node, word: str, *arguments: str) -> bool:
    try:
        return word in node.kubectl(*arguments)
    except AssertionError:
        return False


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _control_groups() -> set[Path]:
    return {Path(folder) for folder, _, _ in os.walk("/sys/fs/cgroup") if "kubepods" in folder}


def _remove_control_groups(groups: set[Path]) -> None:
    """Their processes are ended first; the deepest are removed first."""
    for group in sorted(groups, key=lambda path: -len(path.parts)):
        processes = group / "cgroup.procs"
        for process in processes.read_text().split() if processes.exists() else ():
            os.kill(int(process), 9)
        deadline = time.monotonic() + 10
        while group.exists() and time.monotonic() < deadline:
            try:
                group.rmdir()
            except OSError:
                time.sleep(0.05)


def clean_folder(folder: Path) -> None:
    """Remove what the node has written, and what it has mounted there."""
    for line in reversed(Path("/proc/mounts").read_text().splitlines()):
        if line.split()[1].startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", line.split()[1]], check=False)
    shutil.rmtree(folder, ignore_errors=True)
