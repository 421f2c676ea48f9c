"""The page in docs/browser.md, in Chromium, from another origin than the gateway's: see `make clients-check`."""

import json
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fleet import Fleet
from tests.e2e.pages import ROOT
from tests.http_serving import serving
from tests.pictures import word_f1
from tests.polling import PATIENCE_S

DRIVER = """
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


@pytest.mark.long
def test_the_page_uploads_shows_how_far_it_is_and_follows(tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium, "Chromium is not installed. Run: sudo apt-get install chromium"
    fleet, answered, told = Fleet(tmp_path / "run"), threading.Event(), dict[str, Any]()

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/scan.pdf":
                content = (ROOT / "examples/scan.pdf").read_bytes()
            else:
                content = page(f"http://127.0.0.1:{fleet.port}", fleet.variables()["ARGOSY_KEY"]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            told.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            answered.set()

    with serving(Pages, answered.set) as port:
        fleet.command("up", CORS_ORIGINS=f"http://127.0.0.1:{port}")
        try:
            flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
            browser = subprocess.Popen([chromium, *flags, f"http://127.0.0.1:{port}/"], stderr=subprocess.DEVNULL)
            try:
                assert answered.wait(PATIENCE_S)
            finally:
                browser.terminate()
                browser.wait()
        finally:
            fleet.command("down")
    assert told["error"] == ""
    assert word_f1(told["text"], (ROOT / "examples/scan.txt").read_text(encoding="utf-8")) > 0.95
    assert told["shares"] == sorted(told["shares"])
    assert told["shares"][-1] == 1


def page(gateway: str, key: str) -> str:
    """The page of the document with this gateway and key, and what uses it as a visitor would."""
    (block,) = re.findall(r"^```html\n(.*?)^```$", (ROOT / "docs/browser.md").read_text(), re.M | re.S)
    given: str = block.replace("https://api.example.com", gateway).replace("argosy_…", key)
    assert gateway in given
    assert key in given
    return given + DRIVER
