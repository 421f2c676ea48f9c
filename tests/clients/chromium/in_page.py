"""The cases of table.py in Chromium: serves page.html from an origin of its own, and prints its facts.

PAGE_PORT is that of the origin that CORS_ORIGINS of the gateway names.
"""

import os
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode

WITHIN_S = 120.0
PAGE = Path(__file__).with_name("page.html")
SERVED = {"/": PAGE, "/scan.pdf": Path(os.environ["SCAN"]), "/large": Path(os.environ["LARGE"])}


def main() -> None:
    """Show the page, and print what it tells. Raises AssertionError without Chromium, or if it tells nothing."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium, "Chromium is not installed. Run: sudo apt-get install chromium"
    told, has_told = [b""], threading.Event()

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = SERVED.get(self.path)
            content = found.read_bytes() if found else b""
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            told[0] = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()
            has_told.set()

        def log_message(self, *_: object) -> None:
            """Be silent."""

    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PAGE_PORT"])), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    given = urlencode({"url": os.environ["ARGOSY_URL"], "key": os.environ["ARGOSY_KEY"]})
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={os.environ['FOLDER']}/profile"]
    page = f"http://127.0.0.1:{server.server_address[1]}/#{given}"
    browser = subprocess.Popen([chromium, *flags, page], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        assert has_told.wait(WITHIN_S), f"The page has told nothing within {WITHIN_S:g} s."
    finally:
        browser.terminate()
        browser.wait()
    print(told[0].decode())


if __name__ == "__main__":
    main()
