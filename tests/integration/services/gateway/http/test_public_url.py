"""Behind proxies, configured as docs/operate.md says: whatever callers are told leads back to the gateway."""

import datetime
import ipaddress
import json
import os
import re
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deploy.local import debian_programs
from deploy.local.test_servers import Trio, free_port
from libs.common.blobs import Blobs
from libs.common.config import BlobSettings
from libs.common.db import Database
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import Role
from tests.exporting import LINK_SECRET
from tests.integration.services.gateway.endpoints.test_artifacts import finished_job
from tests.integration.services.gateway.gateway import assert_problem, upload
from tests.integration.services.gateway.live import ROOT, LiveGateway, serving
from tests.polling import until

PREFIX = "/argosy"
UPLOAD_AT_MOST = 100_000
LARGE = bytes(3_000_000)
FORGED = {
    "Forwarded": "for=192.0.2.9;host=evil.example;proto=http",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Prefix": "/evil",
}


def nginx(block: str, port: int, folder: Path) -> tuple[str, list[str]]:
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    block = block.replace("listen 443", f"listen 127.0.0.1:{port}")
    block = block.replace("/etc/ssl/certs/argosy.pem", f"{folder}/both.pem")
    block = block.replace("/etc/ssl/private/argosy.key", f"{folder}/both.pem")
    head = f"daemon off; master_process off; pid {folder}/pid; error_log stderr;\nevents {{}}\n"
    config = f"{head}http {{ access_log off;\n{temporary}{block} }}"
    return config, ["-p", str(folder), "-e", "stderr", "-c", f"{folder}/nginx"]


def haproxy(block: str, port: int, folder: Path) -> tuple[str, list[str]]:
    block = block.replace("bind :443", f"bind 127.0.0.1:{port}")
    return block.replace("/etc/haproxy/certs/api.example.com.pem", f"{folder}/both.pem"), [
        "-db",
        "-f",
        f"{folder}/haproxy",
    ]


def caddy(block: str, port: int, folder: Path) -> tuple[str, list[str]]:
    site = f"https://127.0.0.1:{port} {{\n tls {folder}/both.pem {folder}/both.pem"
    options = "{\n admin off\n auto_https disable_redirects\n}\n"
    return options + block.replace("api.example.com {", site), [
        *("run", "--adapter", "caddyfile", "--config", f"{folder}/caddy")
    ]


def apache2(block: str, port: int, folder: Path) -> tuple[str, list[str]]:
    modules = Path(debian_programs.find("apache2")).parents[1] / "lib/apache2/modules"
    loaded = ("mpm_event", "authz_core", "proxy", "proxy_http", "ssl", "headers", "http2")
    head = "".join(f"LoadModule {name}_module {modules}/mod_{name}.so\n" for name in loaded)
    head += f"Listen 127.0.0.1:{port}\nServerName 127.0.0.1\nPidFile {folder}/pid\nErrorLog /dev/stderr\n"
    head += f"ServerRoot {folder}\nDefaultRuntimeDir {folder}\n"
    if os.geteuid() == 0:  # it serves nothing as root
        head += "User nobody\nGroup nogroup\n"
    block = block.replace("*:443", f"127.0.0.1:{port}").replace("ServerName api.example.com", "")
    block = block.replace("/etc/ssl/certs/argosy.pem", f"{folder}/both.pem")
    block = block.replace("/etc/ssl/private/argosy.key", f"{folder}/both.pem")
    return head + block, ["-DFOREGROUND", "-f", f"{folder}/apache2"]


LANGUAGES: dict[Callable[[str, int, Path], tuple[str, list[str]]], str] = {
    nginx: "nginx",
    haproxy: "haproxy",
    caddy: "caddyfile",
    apache2: "apache",
}
"""The proxies, and the languages of their blocks."""


def certify(path: Path) -> None:
    """Write a key, and a certificate of 127.0.0.1 signed with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(certificate.public_bytes(pem) + private)


def as_documented(language: str, gateway: LiveGateway, prefix: str) -> str:
    """The configuration in docs/operate.md before this gateway, under a prefix or not."""
    section = (ROOT / "docs/operate.md").read_text(encoding="utf-8").partition("\n## Behind a proxy\n")[2]
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", section.partition("\n## ")[0], re.M | re.S)
    assert "127.0.0.1:8080" in block
    block = str(block).replace("127.0.0.1:8080", f"127.0.0.1:{gateway.port}")
    if not prefix:
        return block
    under = re.sub(r"^(\s*).*# under a prefix: (.*)$", r"\1\2", block, flags=re.M)
    assert prefix in under
    return under


@asynccontextmanager
async def fronting(
    proxy: Callable[[str, int, Path], tuple[str, list[str]]], gateway: LiveGateway, prefix: str, folder: Path
) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key that reaches the gateway through the proxy, while the block runs."""
    folder.mkdir()
    port, name = free_port(), proxy.__name__
    certify(folder / "both.pem")
    config, arguments = proxy(as_documented(LANGUAGES[proxy], gateway, prefix), port, folder)
    (folder / name).write_text(config)
    program = debian_programs.find(name)
    environment = {**os.environ, "HOME": str(folder), **debian_programs.environment_of(program)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, *arguments], stdout=log, stderr=log, env=environment)
    trusting = ssl.create_default_context(cafile=str(folder / "both.pem"))
    base_url = f"https://127.0.0.1:{port}{prefix}"
    try:
        async with httpx.AsyncClient(timeout=60, base_url=base_url, verify=trusting, headers=FORGED) as client:

            async def serves() -> bool:
                assert process.poll() is None, (folder / "log").read_text()
                try:
                    return (await client.get("/livez")).status_code == 200
                except httpx.TransportError:
                    return False

            await until(serves)
            yield client
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("proxy", LANGUAGES, ids=lambda proxy: proxy.__name__)
async def test_whatever_callers_are_told_leads_back(
    proxy: Callable[[str, int, Path], tuple[str, list[str]]],
    servers: Trio,
    database_url: str,
    database: Database,
    tmp_path: Path,
) -> None:
    settings: dict[str, Any] = {"TRUSTED_PROXIES": "127.0.0.1", "LINK_SECRET": LINK_SECRET}
    settings["GATEWAY_MAX_UPLOAD_BYTES"] = str(UPLOAD_AT_MOST)
    key = (await issue(database, "dev", "dev", "test", Role.MEMBER)).key
    blobs = Blobs(BlobSettings.model_validate({"blob_url": (tmp_path / "blobs").as_uri()}))
    async with (
        serving(servers, database_url, tmp_path, **settings) as (gateway,),
        fronting(proxy, gateway, PREFIX, tmp_path / "prefix") as client,
        fronting(proxy, gateway, "", tmp_path / "root") as at_root,
    ):
        root, other = (str(one.base_url).rstrip("/") for one in (client, at_root))
        assert_problem(await client.post("/v1/ocr", **upload(LARGE)), 401, "unauthenticated")
        client.headers["Authorization"] = f"Bearer {key}"
        assert_problem(await client.post("/v1/ocr", **upload(LARGE)), 413, "too-large")
        location = await finished_job(database, blobs, client, b"0123456789")
        assert location.startswith(f"{root}/v1/jobs/job_")
        job = (await client.get(location)).json()
        (artifact,) = job["artifacts"]
        assert artifact["url"] == f"{location}/artifacts/text.txt"
        part = await client.get(artifact["url"], headers={"Range": "bytes=2-4"})
        assert (part.status_code, part.content) == (206, b"234")
        events = re.findall("^data: (.*)$", (await client.get(f"{location}/events")).text, re.M)
        assert json.loads(events[-1])["artifacts"] == [artifact]
        link = (await client.post(f"{artifact['url']}/link", json={})).json()["url"]
        assert link.startswith(f"{root}/v1/download/")
        assert (await client.get(link)).content == b"0123456789"
        (server,) = (await client.get("/openapi.json")).json()["servers"]
        limits = urljoin(urljoin(f"{root}/openapi.json", server["url"]), "v1/limits")
        assert (await client.get(limits)).status_code == 200
        job = (await at_root.get(location.replace(root, other), headers={"Authorization": f"Bearer {key}"})).json()
        assert job["artifacts"][0]["url"] == artifact["url"].replace(root, other)


async def test_the_setting_decides_what_callers_are_told(
    servers: Trio, database_url: str, database: Database, tmp_path: Path
) -> None:
    key = (await issue(database, "dev", "dev", "test", Role.MEMBER)).key
    public = "https://api.example.com/argosy"
    async with (
        serving(servers, database_url, tmp_path, PUBLIC_URL=f"{public}/", TRUSTED_PROXIES="127.0.0.1") as (
            gateway,
        ),
        httpx.AsyncClient(timeout=60, base_url=gateway.url, headers=FORGED) as client,
    ):
        answer = await client.post("/v1/ocr", **upload(), headers={"Authorization": f"Bearer {key}"})
        assert answer.headers["location"] == f"{public}/v1/jobs/{answer.json()['id']}"
        assert (await client.get("/openapi.json")).json()["servers"] == [{"url": public}]


async def test_who_repeats_a_request_elsewhere_is_told_where_things_are_from_there(
    servers: Trio, database_url: str, database: Database, tmp_path: Path
) -> None:
    key = (await issue(database, "dev", "dev", "test", Role.ADMIN)).key
    blobs = Blobs(BlobSettings.model_validate({"blob_url": (tmp_path / "blobs").as_uri()}))
    letter = {"from": "a@a.test", "to": ["b@b.test"], "subject": "Tides", "text": "High water at six."}
    requests: list[tuple[str, dict[str, Any]]] = [
        ("/v1/ocr", upload()),
        ("/v1/mail", {"json": letter}),
        ("/v1/exports", {"json": {"dataset": "jobs", "format": "csv"}}),
        ("/v1/keys", {"json": {"name": "web", "role": "read"}}),
    ]
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "/v1/ocr"}
    async with (
        serving(servers, database_url, tmp_path, TRUSTED_PROXIES="127.0.0.1", KEY_SECRET="k" * 32) as (gateway,),
        httpx.AsyncClient(timeout=60, base_url=gateway.url, headers=headers) as client,
    ):
        client.headers["X-Forwarded-Prefix"] = "/old"
        assert (await finished_job(database, blobs, client, b"0123456789")).startswith("/old/v1/jobs/")
        for path, body in requests:
            client.headers.update({"X-Forwarded-Prefix": "/old", "Idempotency-Key": path})
            before = await client.post(path, **body)
            client.headers["X-Forwarded-Prefix"] = "/new"
            again = await client.post(path, **body)
            assert again.headers.get("idempotency-replayed") == "true", (path, again.text)
            assert again.headers["location"] == before.headers["location"].replace("/old/", "/new/"), path
            assert again.text == before.text.replace("/old/", "/new/"), path
            assert "/old" not in again.text
