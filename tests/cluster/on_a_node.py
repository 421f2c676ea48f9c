"""make cluster-test: docs/deploy.md, followed on a real node of Kubernetes, and then what may happen to a fleet.

`make test` does not collect this file: it takes the namespaces and the programs that `make cluster-test` makes.
The images and manifests are those of staging; tests/cluster/checkout.py says what differs, and why.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.k8s.rendering import ENVIRONMENTS, overlay, render
from libs.common.contracts.services import SERVICES
from tests.cluster import metrics_adapter, name_server, node
from tests.cluster.checkout import ROOT, Checkout, check_out, steps
from tests.cluster.node import REGISTRY, Node
from tests.cluster.prepare import SERVERS, programs, stand_in
from tests.pictures import LINES, encoded, page, word_f1
from tests.polling import until

NAMESPACE = "argosy-staging"
PATIENCE_S = 900.0
"""All pods and servers share the cores of one machine."""
REQUESTS, CALLERS = 1000, 8
VOLUMES = 3
OUT_OF_MEMORY = ("out_of_memory", "engine_failed", "page_crashed", "poison")
"""It was refused, or the kernel ended the engine, the process of the page, or the whole container three times."""
_numbers = count(1)
pytestmark = pytest.mark.timeout(3600)


@dataclass
class Fleet:
    """The fleet in the cluster."""

    checkout: Checkout
    url: str
    key: str
    first_text: str
    """What following the page has printed at its end."""

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """What kubectl prints, in the namespace of the fleet."""
        return self.checkout.node.kubectl(f"--namespace={NAMESPACE}", *arguments, given=given)

    def deployment(self, name: str) -> dict[str, Any]:
        """A Deployment, with its status."""
        found: dict[str, Any] = json.loads(self.kubectl("get", "deployment", name, "--output=json"))
        return found

    def pods(self, name: str) -> list[dict[str, Any]]:
        """The pods of a service that are not about to end."""
        chosen = f"--selector=app.kubernetes.io/name={name}"
        items = json.loads(self.kubectl("get", "pods", chosen, "--output=json"))["items"]
        return [one for one in items if "deletionTimestamp" not in one["metadata"]]

    def client(self) -> httpx.AsyncClient:
        """Speaks to the Service of the gateways, each connection to one of them."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60)

    def warnings(self) -> str:
        """What the node has warned of, such as probes that failed."""
        return self.kubectl("get", "events", "--field-selector=type=Warning", "--sort-by=.lastTimestamp")

    async def submit(self, content: bytes) -> str:
        """The id of the job that reads a page."""
        async with self.client() as client:
            answer = await client.post("/v1/ocr", files={"file": ("page.png", content)})
        assert answer.status_code == 202, answer.text
        job: str = answer.json()["id"]
        return job

    async def job(self, job: str) -> dict[str, Any]:
        """The job as it is now."""
        async with self.client() as client:
            answer = await client.get(f"/v1/jobs/{job}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def text(self, job: str) -> str:
        """What was read."""
        async with self.client() as client:
            return (await client.get(f"/v1/jobs/{job}/artifacts/text.txt")).text

    async def running(self, job: str) -> None:
        """Return when the job runs."""

        async def runs() -> bool:
            return bool((await self.job(job))["state"] == "running")

        await until(runs, patience_s=PATIENCE_S)

    async def ended(self, job: str) -> dict[str, Any]:
        """The job, when it has ended."""

        async def has_ended() -> dict[str, Any] | None:
            found = await self.job(job)
            return found if found["finished_at"] else None

        found = await until(has_ended, patience_s=PATIENCE_S)
        assert found is not None
        return found

    async def counted(self, event: str) -> int:
        """How many events of that name have been counted."""
        today = datetime.now(UTC).date()
        asked = {"event": event, "by": "total", "from": f"{today - timedelta(1)}", "to": f"{today + timedelta(2)}"}
        async with self.client() as client:
            answer = await client.post("/v1/analytics/query", json=asked)
        assert answer.status_code == 200, answer.text
        return sum(value for one in answer.json()["series"] for _, value in one["points"])


def different_page(lines: int = 4, dpi: int = 100) -> tuple[bytes, str]:
    """A page that nobody has read yet, and its text. The more lines, the longer it takes."""
    text = [f"Page number {next(_numbers)} of this ship", *(LINES[place % len(LINES)] for place in range(lines))]
    return encoded(page(text, dpi=dpi), "PNG", dpi=(dpi, dpi)), "\n".join(text)


def said(what: str, since: float) -> None:
    """Print a figure of this run."""
    print(f"\n{what}: {time.monotonic() - since:.1f} s", file=sys.__stdout__, flush=True)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Node]:
    began, folder = time.monotonic(), Path(tempfile.mkdtemp(prefix="argosy-node-"))
    try:
        with node.running(folder, programs()) as started:
            said("The node is ready after", began)
            with name_server.serving(started):
                yield started
    finally:
        node.clean_folder(folder)


@pytest.fixture(scope="module")
def images(cluster: Node) -> str:
    """What `make images PUSH=registry.example.com/argosy TAG=1` prints. The registry is the node's."""
    began = time.monotonic()
    environment = os.environ | {"CONTAINERS_REGISTRIES_CONF": str(cluster.folder / "registries.conf")}
    for server, tag in SERVERS.items():
        pushed = f"docker://{REGISTRY}/library/{server}:{tag}"
        subprocess.run(["podman", "push", "--quiet", stand_in(server), pushed], env=environment, check=True)
    done = subprocess.run(
        [sys.executable, "-m", "deploy.images", "--tag", "1", "--push", "registry.example.com/argosy", "--",
         *os.environ.get("BUILD_OPTIONS", "").split()],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    said("The images are pushed after", began)
    return done.stdout


@pytest.fixture(scope="module")
def fleet(cluster: Node, images: str) -> Iterator[Fleet]:
    """What the page makes of an empty cluster: all its lines but those that make the images, in one shell."""
    began = time.monotonic()
    checkout = check_out(cluster, images)
    _offer_volumes(cluster)
    _images, *others = steps()
    lines = "\n".join(f"echo 'Step {number}' $SECONDS\n{step}" for number, step in enumerate(others, 2))
    printed = checkout.shell(f"trap 'kill $(jobs -p)' EXIT\n{lines}")
    print("\n".join(re.findall(r"^(?:Step .*|argosy-staging has .*)$", printed, re.M)), file=sys.__stdout__)
    said("The first text is there after", began)
    kubectl = [f"--namespace={NAMESPACE}"]
    addresses = [
        cluster.kubectl(*kubectl, "get", "service", name, "--output=jsonpath={.spec.clusterIP}")
        for name in ("gateway", "gateway-probes")
    ]
    key = cluster.kubectl(
        *kubectl, "exec", "deploy/gateway", "--", "python", "-m", "services.gateway.keys", "dev", "--operator"
    ).strip()
    with metrics_adapter.serving(cluster, f"http://{addresses[1]}:9100/slots-wanted"):
        yield Fleet(checkout, f"http://{addresses[0]}", key, printed)


def _offer_volumes(cluster: Node) -> None:
    """What a storage class would make when it is asked."""
    for number in range(VOLUMES):
        place = cluster.folder / "volumes" / str(number)
        place.mkdir(parents=True)
        terms = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node"]}]}]
        volume = {
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"volume-{number}"},
            "spec": {
                "capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteOnce"], "local": {"path": str(place)},
                "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
            },
        }  # fmt: skip
        cluster.kubectl("apply", "--filename=-", given=json.dumps(volume))


async def test_the_page_leads_from_an_empty_cluster_to_a_text(fleet: Fleet) -> None:
    assert word_f1(fleet.first_text.rpartition("8080\n")[2], (ROOT / "examples/scan.txt").read_text()) > 0.9
    for service in SERVICES:
        (pod,) = fleet.pods(service.name)
        (status,) = pod["status"]["containerStatuses"]
        assert (status["ready"], status["restartCount"]) == (True, 0), status


@pytest.mark.parametrize("environment", ENVIRONMENTS)
async def test_the_server_takes_all_manifests(fleet: Fleet, environment: str) -> None:
    manifests = fleet.checkout.folder / "deploy/k8s" / overlay(environment).relative_to(ROOT / "deploy/k8s")
    fleet.checkout.node.kubectl("apply", "--kustomize", str(manifests / "namespace"))
    told = fleet.checkout.node.kubectl("apply", "--dry-run=server", "--kustomize", str(manifests))
    assert told.count("dry run") == len(render(manifests))


async def test_a_release_of_all_services_under_load_fails_no_request_and_loses_no_job(fleet: Fleet) -> None:
    fleet.checkout.change("deploy/k8s/base/process.yaml", "failureThreshold: 60", "failureThreshold: 61")
    fleet.checkout.commit("Change what all processes have")
    before = {pod["metadata"]["name"] for service in SERVICES for pod in fleet.pods(service.name)}
    document, text = different_page(lines=20)
    job = await fleet.submit(document)
    began = time.monotonic()
    release = asyncio.create_task(asyncio.to_thread(fleet.checkout.shell, "make deploy ENV=staging"))
    answers = await _load(fleet, release)
    await release
    said(f"{len(answers)} requests while all services were replaced, which took", began)
    failed = [answer for answer in answers if answer not in (200, 202)]
    assert len(answers) >= REQUESTS
    assert failed == [], fleet.warnings()
    print(fleet.warnings(), file=sys.__stdout__, flush=True)
    after = {pod["metadata"]["name"] for service in SERVICES for pod in fleet.pods(service.name)}
    assert before & after == set()
    assert (await fleet.ended(job))["state"] == "succeeded"
    assert word_f1(await fleet.text(job), text) > 0.9

    async def all_counted() -> bool:
        return await fleet.counted("loaded") == answers.count(202)

    await until(all_counted)


async def _load(fleet: Fleet, release: asyncio.Task[str]) -> list[int | str]:
    """The answers, or errors, to all requests until the release is out; at least as many as are wanted."""
    answers: list[int | str] = []

    async def call(caller: int) -> None:
        while not release.done() or len(answers) < REQUESTS:
            async with fleet.client() as client:  # new connections now and then
                for number in range(25):
                    event = {"id": f"{caller}-{len(answers)}-{number}", "name": "loaded", "subject": f"s{number}"}
                    event["time"] = datetime.now(UTC).isoformat()
                    try:
                        if number % 5:
                            answer = await client.post("/v1/events", json={"events": [event]})
                        else:
                            answer = await client.get("/v1/jobs", params={"limit": 1})
                        answers.append(answer.status_code)
                    except httpx.HTTPError as error:
                        answers.append(repr(error))
                    await asyncio.sleep(0.1)

    await asyncio.gather(*(call(caller) for caller in range(CALLERS)))
    return answers


async def test_a_worker_that_is_drained_ends_its_page_or_gives_it_to_another(fleet: Fleet) -> None:
    document, text = different_page(lines=22, dpi=300)
    (pod,) = fleet.pods("ocr")
    name = pod["metadata"]["name"]
    job = await fleet.submit(document)
    await fleet.running(job)
    began = time.monotonic()
    eviction = {"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": name}}  # as drain does
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/eviction"
    fleet.kubectl("create", f"--raw={path}", "--filename=-", given=json.dumps(eviction))
    assert name not in [one["metadata"]["name"] for one in fleet.pods("ocr")]
    assert (await fleet.job(job))["finished_at"] is None, "it was evicted while it read"
    ended = await fleet.ended(job)
    said(f"A page of a drained worker is {ended['state']} with attempt {ended['attempt']} after", began)
    assert ended["state"] == "succeeded"
    assert word_f1(await fleet.text(job), text) > 0.9


async def test_a_container_is_killed_and_its_job_is_done(fleet: Fleet) -> None:
    await _one_is_ready(fleet, "ocr")
    document, text = different_page(lines=22, dpi=300)
    job = await fleet.submit(document)
    await fleet.running(job)
    (pod,) = fleet.pods("ocr")
    (status,) = pod["status"]["containerStatuses"]
    began = time.monotonic()
    container = status["containerID"].removeprefix("containerd://")
    fleet.checkout.node.ctr("tasks", "kill", "--signal", "SIGKILL", container)
    ended = await fleet.ended(job)
    said(f"The job of a killed container is {ended['state']} with attempt {ended['attempt']} after", began)
    assert ended["state"] == "succeeded"
    assert word_f1(await fleet.text(job), text) > 0.9
    (pod,) = fleet.pods("ocr")
    assert pod["status"]["containerStatuses"][0]["restartCount"] == status["restartCount"] + 1


async def _one_is_ready(fleet: Fleet, service: str) -> None:
    async def is_ready() -> bool:
        status = fleet.deployment(service)["status"]
        return bool(status.get("readyReplicas") == status["replicas"] == 1)

    await until(is_ready, patience_s=PATIENCE_S)


async def test_workers_are_scaled_by_the_slots_that_their_queue_wants(fleet: Fleet) -> None:
    """By the HPA of the manifests, with their waiting; only its maximum is lower. It takes five quiet minutes."""
    await _one_is_ready(fleet, "ocr")
    fleet.kubectl("patch", "hpa", "ocr", "--type=merge", '--patch={"spec": {"maxReplicas": 4}}')
    began = time.monotonic()
    jobs = [await fleet.submit(different_page(lines=22, dpi=300)[0]) for _ in range(24)]

    async def are(number: int) -> bool:
        status = fleet.deployment("ocr")["status"]
        return bool(status.get("readyReplicas") == status["replicas"] == number)

    await until(lambda: are(4), patience_s=PATIENCE_S)
    said("Four workers are ready after", began)
    assert {(await fleet.ended(job))["state"] for job in jobs} == {"succeeded"}
    said("24 pages are read after", began)
    await until(lambda: are(1), patience_s=PATIENCE_S)
    said("One worker is left after", began)


async def test_a_worker_out_of_memory_harms_no_other_job(fleet: Fleet) -> None:
    """The limit is lowered below what a page may take, so that the kernel ends what exceeds it."""
    await _one_is_ready(fleet, "ocr")
    limited = ["set", "resources", "deployment/ocr", "--containers=argosy"]
    fleet.kubectl(*limited, "--limits=memory=300Mi", "--requests=memory=64Mi")
    fleet.kubectl("rollout", "status", "deployment/ocr", f"--timeout={PATIENCE_S:g}s")
    kills = _kills_for_memory()
    began = time.monotonic()
    large = encoded(page(LINES * 10, dpi=700), "PNG", dpi=(700, 700))
    job = await fleet.submit(large)
    small, text = different_page()
    other = await fleet.submit(small)
    assert (await fleet.ended(other))["state"] == "succeeded"
    assert word_f1(await fleet.text(other), text) > 0.9
    ended = await fleet.ended(job)
    error = (ended.get("error") or {}).get("code")
    said(f"A page above the limit of memory: {ended['state']}, {error}, attempt {ended['attempt']}, after", began)
    assert _kills_for_memory() > kills, "the limit was hit"
    assert ended["state"] == "succeeded" or error in OUT_OF_MEMORY
    last, _ = different_page()
    assert (await fleet.ended(await fleet.submit(last)))["state"] == "succeeded"
    fleet.kubectl(*limited, "--limits=memory=2Gi", "--requests=memory=512Mi")


def _kills_for_memory() -> int:
    """How many processes the kernel has ended because memory was short."""
    return int(re.findall(r"^oom_kill (\d+)$", Path("/proc/vmstat").read_text(), re.M)[0])


async def test_every_job_has_ended_well_but_the_one_out_of_memory(fleet: Fleet) -> None:
    async with fleet.client() as client:
        answer = await client.get("/v1/jobs", params={"queue": "ocr", "limit": 100})
    jobs = answer.json()["jobs"]
    assert len(jobs) > 24
    bad = [job for job in jobs if job["state"] != "succeeded"]
    assert len(bad) <= 1, bad
