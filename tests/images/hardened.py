"""make images-test: the images hold what docs/deploy.md says of them, and work confined as the manifests say.

`make test` does not collect this file: it needs the images, and Docker or Podman. PostgreSQL, Redis, NATS and the
mail relay are real and run beside the containers; each service has its own logins.
"""

import json
import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from packaging.requirements import Requirement

from deploy.images.__main__ import IMAGES
from deploy.images.requirements import read_lock, requirements_of
from deploy.k8s.rendering import Manifest, environment_of, find, overlay, render
from deploy.local.passwords import password_of
from deploy.local.test_servers import Trio, free_port
from deploy.permissions import postgres_logins
from libs.common.contracts.services import SERVICES, login_of
from tests.images.containers import Containers, confined
from tests.limits import NO_LIMITS
from tests.pictures import word_f1
from tests.polling import until
from tests.relay import Relay, relaying
from tests.unit.libs.common.sandbox.escapes import EXACTLY

ROOT = Path(__file__).resolve().parents[2]
NAMES = tuple(service.name for service in SERVICES)
STOPPED = (0, 143)
"""Exit codes after SIGTERM: handled, or not yet. After SIGKILL it is 137."""
WORKERS = tuple(service.name for service in SERVICES if service.is_worker)
SANDBOXED = ("ocr", "mailer")
COMPILERS = ("cc", "c++", "gcc", "g++", "clang", "ld", "as", "make", "pip", "pip3")
CONTENTS = f"""
import importlib.metadata, importlib.util, json, os, shutil, sys
print(json.dumps({{
    "packages": {{one.metadata["Name"]: one.version for one in importlib.metadata.distributions()}},
    "installers": [name for name in ("pip", "ensurepip", "setuptools") if importlib.util.find_spec(name)],
    "programs": [name for name in {COMPILERS} if shutil.which(name, path="/usr/local/bin:" + os.environ["PATH"])],
    "compiled": all(os.path.exists(importlib.util.cache_from_source(f"/app/libs/common/{{name}}.py"))
                    for name in ("config", "db")),
    "python_full_version": "%d.%d.%d" % sys.version_info[:3],
}}))
"""
CONFINEMENT = """
import json, os
def status(process):
    lines = (line.partition(":") for line in open(f"/proc/{process}/status"))
    return {name: value.split() for name, _, value in lines}
processes = [status(process) for process in os.listdir("/proc") if process.isdigit()]
def is_refused(path):
    try:
        open(path, "w")
    except OSError as error:
        return error.strerror
mounts = {line.split()[1]: line.split()[3].split(",")[0] for line in open("/proc/mounts")}
written = {folder: is_refused(folder + "/x") for folder in ("/tmp", "/", "/app", "/run", "/var/tmp")}
print(json.dumps({"processes": processes, "root": mounts["/"], "written": written}))
"""


@dataclass
class Fleet:
    """Containers of all services, with what they were started with."""

    containers: Containers
    relay: Relay
    run: str
    """A part of their names."""
    options: dict[str, list[str]]
    environment: dict[str, dict[str, str]]
    url: str
    key: str = ""

    def name(self, service: str) -> str:
        return f"argosy-{service}-{self.run}"

    async def stop(self, name: str, service: str) -> int:
        """The exit code of a container that is told to stop."""
        return await self.containers.stop(name, int(self.environment[service]["TERMINATION_GRACE_S"]))

    def client(self) -> httpx.AsyncClient:
        """Speaks to the gateway with its first key."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=30)


async def ended(client: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    """The job that this request makes, when it has ended."""
    accepted = await client.post(path, **body)
    assert accepted.status_code == 202, accepted.text

    async def has_ended() -> dict[str, Any] | None:
        answer = await client.get(accepted.headers["location"])
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        return job if job["finished_at"] else None

    job = await until(has_ended)
    assert job is not None
    return job


@pytest.fixture(scope="module")
def containers() -> Containers:
    return Containers(os.environ.get("TAG") or "dev")


@pytest.fixture(scope="module")
async def database(servers: Trio) -> AsyncIterator[str]:
    """The URL of an empty database, and no login of a service."""
    owner = await asyncpg.connect(servers.postgres.url)
    await owner.execute("CREATE DATABASE images")
    yield servers.postgres.url.rpartition("/")[0] + "/images"
    await owner.execute("DROP DATABASE images WITH (FORCE)")
    await owner.close()


@pytest.fixture(scope="module")
async def migrated(containers: Containers, database: str) -> str:
    """The database, after the container of the migrations, twice, and with a login of each service."""
    job = find(render(overlay("staging") / "migrations"), "Job", "migrations")
    options = [*confined(job, containers.tool), f"--env=DATABASE_URL={database}"]
    for _ in range(2):
        await containers.once("migrations", options=options)
    owner = await asyncpg.connect(database)
    for statement in postgres_logins(lambda _service: "'x'").values():
        await owner.execute(statement)
    await owner.close()
    return database


@pytest.fixture(scope="module")
async def fleet(
    containers: Containers, servers: Trio, migrated: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Fleet]:
    manifests, blobs, port = render(overlay("staging")), tmp_path_factory.mktemp("blobs"), free_port()
    blobs.chmod(0o777)  # the volume of `components/volume`
    async with relaying(Relay()) as relay:
        started = Fleet(containers, relay, uuid.uuid4().hex[:8], {}, {}, f"http://127.0.0.1:{port}")
        try:
            for service in NAMES:
                workload = find(manifests, "Deployment", service)
                started.options[service] = [*confined(workload, containers.tool), f"--volume={blobs}:/blobs"]
                given = _environment(manifests, workload, servers, migrated)
                given |= {"GATEWAY_PORT": str(port), "LIMITS": NO_LIMITS} if service == "gateway" else {}
                given |= {"MAIL_RELAYS": f"smtp://127.0.0.1:{relay.port}?tls=off"} if service == "mailer" else {}
                started.environment[service] = given
                await containers.start(started.name(service), service, started.options[service], given)
            await _are_ready(started)
            command = ("python", "-m", "services.gateway.keys", "dev", "--operator")  # as in docs/deploy.md
            started.key = (await containers.inside(started.name("gateway"), *command)).strip()
            yield started
        finally:
            await containers.remove_all()


def _environment(manifests: list[Manifest], workload: Manifest, servers: Trio, database: str) -> dict[str, str]:
    """What the manifests give it, with these servers, and with ports of its own in the network of the machine."""
    name = workload["metadata"]["name"]
    nats = urlsplit(servers.nats.url)
    secrets = {
        "DATABASE_URL": f"postgresql://{login_of(name)}:x@{database.rpartition('@')[2]}",
        "NATS_URL": f"nats://{name}:{password_of(name, nats.password or '')}@{nats.hostname}:{nats.port}",
        "REDIS_URL": servers.redis.urls.get(name, ""),
        "TOKEN_SECRET": "t" * 32,
        "MAIL_SECRET": "m" * 32,
        "ANALYTICS_SECRET": "a" * 32,
        "SYNC_SECRET": "s" * 32,
        "LINK_SECRET": "l" * 32,
        "OCR_SECRET": "o" * 32,
        "KEY_SECRET": "k" * 32,
    }
    given = environment_of(manifests, workload, {f"{name}-secrets": secrets})
    given |= {"BLOB_URL": "file:///blobs", "PROBES_HOST": "127.0.0.1", "PROBES_PORT": str(free_port())}
    local = {"GATEWAY_HOST": "127.0.0.1", "MAIL_LMTP_HOST": "127.0.0.1", "MAIL_LMTP_PORT": str(free_port())}
    return given | {variable: value for variable, value in local.items() if variable in given}


async def _are_ready(fleet: Fleet) -> None:
    for service, said in {"gateway": "probes.listening", **dict.fromkeys(WORKERS, "worker.registered")}.items():

        async def has_said(name: str = fleet.name(service), said: str = said) -> bool:
            log = await fleet.containers.log(name)
            assert await fleet.containers.runs(name), log
            return said in log

        await until(has_said)

    async def serves() -> bool:
        try:
            async with httpx.AsyncClient() as client:
                return (await client.get(f"{fleet.url}/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    await until(serves)


@pytest.mark.parametrize("image", IMAGES)
async def test_an_image_has_its_packages_and_nothing_to_install_or_compile(
    containers: Containers, image: str
) -> None:
    found = json.loads(await containers.once(image, "-c", CONTENTS, program="python"))
    there = {"python_full_version": found["python_full_version"]}
    there["python_version"] = there["python_full_version"].rpartition(".")[0]
    locked = [Requirement(one.text.partition("\\")[0]) for one in read_lock(requirements_of(image)).values()]
    meant = {one.name: str(one.specifier) for one in locked if one.marker is None or one.marker.evaluate(there)}
    assert {_normal(name): f"=={version}" for name, version in found["packages"].items()} == meant
    assert (found["installers"], found["programs"]) == ([], [])
    assert found["compiled"]


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


@pytest.mark.parametrize("service", NAMES)
async def test_a_container_has_no_rights_and_writes_to_its_tmp_alone(fleet: Fleet, service: str) -> None:
    found = json.loads(await fleet.containers.inside(fleet.name(service), "python", "-c", CONFINEMENT))
    assert {"tini", "python"} <= {status["Name"][0] for status in found["processes"]}
    for status in found["processes"]:
        assert set(status["Uid"]) == set(status["Gid"]) == {"10001"}
        assert {int(status[kind][0], 16) for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
        assert (status["NoNewPrivs"], status["Seccomp"]) == (["1"], ["2"]), "2: a filter of system calls"
    assert found["root"] == "ro"
    assert found["written"].pop("/tmp") is None  # noqa: S108
    assert set(found["written"].values()) == {"Read-only file system"}


async def test_a_document_is_read(fleet: Fleet) -> None:
    scan = (ROOT / "examples/scan.pdf").read_bytes()
    async with fleet.client() as client:
        job = await ended(client, "/v1/ocr", files={"file": ("scan.pdf", scan)})
        assert job["state"] == "succeeded", await fleet.containers.log(fleet.name("ocr"))
        text = (await client.get(f"/v1/jobs/{job['id']}/artifacts/text.txt")).text
    assert word_f1(text, (ROOT / "examples/scan.txt").read_text()) > 0.95


async def test_a_letter_is_sent(fleet: Fleet) -> None:
    letter = {"from": "office@example.com", "subject": "Ahoy {{ name }}", "text": "Your cargo is in, {{ name }}."}
    recipients = [{"to": "one@example.com", "variables": {"name": "One"}}]
    async with fleet.client() as client:
        job = await ended(client, "/v1/mail", json=letter | {"recipients": recipients})
    assert job["result"] == {"recipients": 1, "sent": 1}
    (delivered,) = fleet.relay.deliveries
    assert (delivered.recipient, delivered.message["subject"]) == ("one@example.com", "Ahoy One")


async def test_events_are_counted(fleet: Fleet) -> None:
    now = datetime.now(UTC)
    events = [{"id": f"{number}", "name": "view", "time": now.isoformat()} for number in range(3)]
    asked = {"event": "view", "by": "total", "from": f"{now.date()}", "to": f"{now.date() + timedelta(1)}"}
    async with fleet.client() as client:
        job = await ended(client, "/v1/events", json={"events": events})
        assert job["state"] == "succeeded", await fleet.containers.log(fleet.name("analytics"))
        ((_, counted),) = (await client.post("/v1/analytics/query", json=asked)).json()["series"][0]["points"]
    assert counted == 3


@pytest.mark.parametrize("service", SANDBOXED)
async def test_nothing_leads_out_of_the_sandbox_in_a_container(fleet: Fleet, service: str) -> None:
    """The corpus of tests/unit/libs/common/sandbox, under the profile of system calls that the tool comes with."""
    options = [*fleet.options[service], f"--volume={ROOT / 'tests'}:/app/tests:ro"]
    command = ("-m", "tests.unit.libs.common.sandbox.escaping", "10001", "/tmp")  # noqa: S108
    outcomes = json.loads(await fleet.containers.once(service, *command, options=options, program="python"))
    attempts = {name: said for name, said in outcomes.items() if said in ("EACCES", "ENOSYS", "done", "EXDEV")}
    assert len(attempts) > 150
    assert [name for name, said in attempts.items() if said == "done"] == ["open descriptors"]
    assert {name: attempts[name] for name in EXACTLY} == EXACTLY
    assert (outcomes["allowed"], outcomes["secret"], outcomes["victim"]) == ("second,shared", "canary", "None")


@pytest.mark.parametrize("service", NAMES)
async def test_a_container_ends_when_it_is_told_to(fleet: Fleet, service: str) -> None:
    name = fleet.name(service)
    assert await fleet.stop(name, service) in STOPPED
    log = await fleet.containers.log(name)
    assert "Traceback" not in log, log
    assert "sandbox.open" not in log


@pytest.mark.parametrize("service", NAMES)
async def test_a_container_ends_when_it_is_told_to_before_it_has_begun(fleet: Fleet, service: str) -> None:
    name = f"{fleet.name(service)}-early"
    await fleet.containers.start(name, service, fleet.options[service], fleet.environment[service])
    assert await fleet.stop(name, service) in STOPPED
