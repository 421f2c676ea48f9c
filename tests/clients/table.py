"""What clients of many languages get from a fleet, as a table: `make clients-table`.

Each client is a small program, in its language and with the defaults of its library. It does the same cases, and
prints the facts that it found, as JSON. They are compared here. docs/clients.md has the table: another one
is an error.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.contenders import install_node, install_python
from deploy.local.test_servers import free_port
from services.gateway.limits.policies import DEFAULTS
from tests.e2e.fleet import ROOT, Fleet

HERE = Path(__file__).parent
INSTALLED = ROOT / ".run" / "clients"
NODE, PYTHON = INSTALLED / "node", INSTALLED / "libraries"
LIBRARIES = ["aiohttp==3.14.5", "httpx==0.28.1", "requests==2.34.2"]
LIMITS = ", ".join(f"{name}=off" for name in DEFAULTS if name != "search") + ", search=1/3s"
UPLOAD_AT_MOST = 4_000_000
LARGE = 8_000_000
AT_ONCE = 3

CASES: dict[str, tuple[str, list[object]]] = {
    "upload": ("upload, follow", ["succeeded", "Schein für März.pdf"]),
    "wait": ("`Prefer: wait`", [200, "succeeded"]),
    "chunked": ("chunked", [202]),
    "refused": ("early 401, 413", [401, 413]),
    "expect": ("`Expect`", [401, 202]),
    "limited": ("429", [429, 200]),
    "events": ("events", [False, "succeeded", 204]),
    "download": ("download", [206, "%PDF-", "%PDF", 304]),
    "idle": ("idle", [200, 200]),
    "versions": ("HTTP/1.0, h2c", [202, 202]),
}
"""By name in the programs, what the column is called and the facts that are right."""


@dataclass(frozen=True)
class Client:
    """A program, and the cases that are for it: not every library can do each."""

    name: str
    command: tuple[str | Path, ...]
    cases: tuple[str, ...]


EVERYWHERE = ("upload", "wait", "refused", "limited", "events", "download", "idle")
CHUNKED = (*EVERYWHERE, "chunked")
CLIENTS = (
    Client("curl", ("bash", HERE / "curl/client.sh"), tuple(CASES)),
    Client("Python requests", (PYTHON / "bin/python", HERE / "python/with_requests.py"), CHUNKED),
    Client("Python httpx", (PYTHON / "bin/python", HERE / "python/with_httpx.py"), CHUNKED),
    Client("Python aiohttp", (PYTHON / "bin/python", HERE / "python/with_aiohttp.py"), CHUNKED),
    Client("Node fetch", ("node", NODE / "with_fetch.mjs"), CHUNKED),
    Client("axios", ("node", NODE / "with_axios.mjs"), CHUNKED),
    Client("eventsource", ("node", NODE / "with_eventsource.mjs"), ("events",)),
    Client("Go net/http", ("go", "run", HERE / "go/client.go"), (*CHUNKED, "expect")),
    Client("Java HttpClient", ("java", HERE / "java/Client.java"), (*CHUNKED, "versions")),
    Client("PHP curl", ("php", HERE / "php/client.php"), (*CHUNKED, "expect")),
    Client("Ruby net/http", ("ruby", HERE / "ruby/client.rb"), (*CHUNKED, "expect")),
    Client("Chromium", (sys.executable, HERE / "chromium/in_page.py"), EVERYWHERE),
)


def facts_of(client: Client, environment: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """What its program found, or under `error` why it found nothing."""
    own = folder / client.name.replace("/", " ")
    own.mkdir()
    try:
        done = subprocess.run(
            client.command, env={**os.environ, **environment, "FOLDER": str(own)},
            capture_output=True, text=True, check=False, timeout=150,
        )  # fmt: skip
        found: dict[str, Any] = json.loads(done.stdout)
    except FileNotFoundError:
        return {"error": f"{client.command[0]} is not installed"}
    except subprocess.TimeoutExpired:
        return {"error": "nothing within 150 s"}
    except json.JSONDecodeError:
        return {"error": (done.stderr + done.stdout)[-1500:]}
    return found


def faults_of(client: Client, facts: Mapping[str, Any]) -> list[str]:
    """What is wrong, in words."""
    if "error" in facts:
        return [f"{client.name}: {facts['error']}"]
    return [
        f"{client.name}, {case}: {facts.get(case)}, not {CASES[case][1]}"
        for case in client.cases
        if facts.get(case) != CASES[case][1]
    ]


def row(client: Client, facts: Mapping[str, Any]) -> str:
    """Of the table."""
    cells = ("" if case not in client.cases else "yes" if facts.get(case) == right else "**no**"
             for case, (_, right) in CASES.items())  # fmt: skip
    return f"| {' | '.join([client.name, *cells])} |"


async def keys(fleet: Fleet) -> list[str]:
    """One for each client, because limits are those of a key."""
    async with fleet.client() as client:
        made = [await client.post("/v1/keys", json={"name": one.name, "role": "member"}) for one in CLIENTS]
        return [answer.raise_for_status().json()["key"] for answer in made]


def measured(folder: Path) -> list[dict[str, Any]]:
    """The facts of each client, before a fleet of their own."""
    fleet, page = Fleet(folder / "run"), free_port()
    (folder / "large").write_bytes(b"%PDF-1.7\n" + bytes(LARGE))
    fleet.command(
        "up",
        LIMITS=LIMITS,
        GATEWAY_MAX_UPLOAD_BYTES=str(UPLOAD_AT_MOST),
        CORS_ORIGINS=f"http://127.0.0.1:{page}",
    )
    try:
        files = {"SCAN": str(ROOT / "examples/scan.pdf"), "LARGE": str(folder / "large")}
        where = {"ARGOSY_URL": f"http://127.0.0.1:{fleet.port}", "PAGE_PORT": str(page)}
        own = [files | where | {"ARGOSY_KEY": key} for key in asyncio.run(keys(fleet))]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda client, given: facts_of(client, given, folder), CLIENTS, own))
    finally:
        fleet.command("down")


def main() -> int:
    """Print the table, and what is wrong. 1 if anything is."""
    install_python(PYTHON, LIBRARIES)
    install_node(HERE / "node", NODE)
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder))
    head = f"| client | {' | '.join(title for title, _ in CASES.values())} |"
    lines = [head, "|---" * (len(CASES) + 1) + "|", *map(row, CLIENTS, found)]
    print("\n".join(lines))
    faults = [fault for client, facts in zip(CLIENTS, found, strict=True) for fault in faults_of(client, facts)]
    if "\n".join(lines) not in (ROOT / "docs/clients.md").read_text(encoding="utf-8"):
        faults.append("docs/clients.md has another table.")
    print("\n".join(faults), file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
