"""The pages in docs/*.md, in Chromium, from other origins than the gateway's: see `make clients-check`."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fleet import Fleet
from tests.e2e.pages import ROOT, fences
from tests.http_serving import serving
from tests.pictures import word_f1
from tests.polling import PATIENCE_S, until

READING = """
<script>
  (async () => {
    const told = {shares: [], text: "", error: ""};
    const bar = document.getElementById("progress");
    const watch = setInterval(() => told.shares.push(bar.value), 20);
    try {
      const scan = await (await fetch("/scan.pdf")).blob();
      told.text = await read(new File([scan], "Schein für März.pdf"));
    } catch (error) {
      told.error = String(error);
    }
    clearInterval(watch);
    told.shares.push(bar.value);
    await fetch("/told", {method: "POST", body: JSON.stringify(told)});
  })();
</script>
"""
COUNTING = """
<script>
  (async () => {
    const answer = await track("apply");
    await fetch("/told", {method: "POST", body: JSON.stringify({status: answer?.status})});
  })();
</script>
"""


@dataclass
class Site:
    """A server of one page, and what that has told."""

    port: int = 0
    page: str = ""
    told: dict[str, Any] = field(default_factory=dict)
    answered: threading.Event = field(default_factory=threading.Event)

    def visited(self, host: str, folder: Path) -> dict[str, Any]:
        """What the page tells after Chromium has opened it, at `host`, which is part of its origin."""
        chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        assert chromium, "Chromium is not installed. Run: sudo apt-get install chromium"
        self.answered.clear()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
        browser = subprocess.Popen([chromium, *flags, f"http://{host}:{self.port}/"], stderr=subprocess.DEVNULL)
        try:
            assert self.answered.wait(PATIENCE_S)
        finally:
            browser.terminate()
            browser.wait()
        return self.told


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """The same port for all pages."""
    served = Site()

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            scan = (ROOT / "examples/scan.pdf").read_bytes()
            content = scan if self.path == "/scan.pdf" else served.page.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            served.told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()
            served.answered.set()

    with serving(Pages, served.answered.set) as served.port:
        yield served


@pytest.fixture(scope="module")
def fleet(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Pages of one origin may call it, those of `localhost` are anybody's."""
    started = Fleet(tmp_path_factory.mktemp("run"))
    started.command("up", CORS_ORIGINS=f"http://127.0.0.1:{site.port}")
    yield started
    started.command("down")


@pytest.mark.long
def test_the_page_uploads_shows_how_far_it_is_and_follows(fleet: Fleet, site: Site, tmp_path: Path) -> None:
    site.page = page("docs/browser.md", fleet, fleet.variables()["ARGOSY_KEY"]) + READING
    told = site.visited("127.0.0.1", tmp_path)
    assert told["error"] == ""
    assert word_f1(told["text"], (ROOT / "examples/scan.txt").read_text(encoding="utf-8")) > 0.95
    assert told["shares"] == sorted(told["shares"])
    assert told["shares"][-1] == 1


@pytest.mark.long
async def test_the_page_of_anybody_sends_events_with_a_public_key(
    fleet: Fleet, site: Site, tmp_path: Path
) -> None:
    async with fleet.client() as client:
        made = await client.post("/v1/keys", json={"name": "page", "scopes": ["events:write"]})
        site.page = page("docs/analytics.md", fleet, made.json()["key"]) + COUNTING
        assert site.visited("localhost", tmp_path) == {"status": 202}
        question = {"event": "apply", "by": "total", "from": "2020-01-01", "to": "2100-01-01"}

        async def counted() -> bool:
            answer = await client.post("/v1/analytics/query", json=question)
            return [series["points"][0][1] for series in answer.json()["series"]] == [1]

        await until(counted)


def page(document: str, fleet: Fleet, key: str) -> str:
    """The page in the document, with this gateway and this key."""
    (block,) = [block for _, language, block in fences(document) if language == "html"]
    given = block.replace("https://api.example.com", f"http://127.0.0.1:{fleet.port}").replace("argosy_…", key)
    assert f":{fleet.port}" in given
    assert key in given
    return given
