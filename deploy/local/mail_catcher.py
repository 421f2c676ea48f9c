"""An SMTP server that stores the fleet's mail in files instead of sending it, and a web page that shows it.

`python -m deploy.local.mail_catcher FOLDER SMTP_PORT PAGE_PORT`
"""

import asyncio
import itertools
import sys
import time
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from html import escape
from pathlib import Path

import uvicorn
from aiosmtpd.smtp import SMTP, Envelope, Session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

SHOWN = 200
"""The page shows this many messages, the newest ones."""
_STYLE = """<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Caught mail</title><style>
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .3rem .8rem .3rem 0 }
tr { border-bottom: 1px solid #ddd } pre { white-space: pre-wrap; background: #f6f6f6; padding: 1rem }
iframe { width: 100%; height: 30rem; border: 1px solid #ddd }</style>"""


class Catcher:
    """Writes every message to a file in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        folder.mkdir(parents=True, exist_ok=True)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        """Store one message. aiosmtpd calls this when it has received all of it."""
        head = f"X-Envelope-From: {envelope.mail_from}\r\nX-Envelope-To: {', '.join(envelope.rcpt_tos)}\r\n"
        name = f"{time.time():017.6f}-{next(self._numbers):06d}"
        partial = self._folder / f".{name}"
        partial.write_bytes(head.encode() + (envelope.original_content or b""))
        partial.rename(self._folder / f"{name}.eml")
        return "250 2.0.0 caught"


def caught(folder: Path) -> Iterator[tuple[str, EmailMessage]]:
    """The names and contents of the last SHOWN messages, newest first."""
    for path in sorted(folder.glob("*.eml"), reverse=True)[:SHOWN]:
        yield path.stem, message_from_bytes(path.read_bytes(), policy=policy.default)


def page(folder: Path) -> Starlette:
    """The web application that shows the messages in `folder`."""

    async def index(_request: Request) -> Response:
        rows = "".join(
            f"<tr><td>{escape(str(message['Date'] or ''))}</td><td>{escape(str(message['X-Envelope-To']))}</td>"
            f'<td><a href="/{name}">{escape(str(message["Subject"] or "(no subject)"))}</a></td></tr>'
            for name, message in caught(folder)
        )
        return HTMLResponse(f"{_STYLE}<h1>Caught mail</h1><table><tr><th>Date<th>To<th>Subject</tr>{rows}</table>")

    async def show(request: Request) -> Response:
        path = folder / f"{Path(request.path_params['name']).name}.eml"
        if not path.is_file():
            return HTMLResponse("There is no such message.", 404)
        message: EmailMessage = message_from_bytes(path.read_bytes(), policy=policy.default)
        fields = "".join(f"<tr><th>{escape(name)}<td>{escape(str(value))}</tr>" for name, value in message.items())
        parts = []
        text, html = message.get_body(("plain",)), message.get_body(("html",))
        if html is not None:  # in a sandboxed frame, without scripts and forms
            parts.append(f'<iframe sandbox srcdoc="{escape(html.get_content())}"></iframe>')
        if text is not None:
            parts.append(f"<pre>{escape(text.get_content())}</pre>")
        files = [escape(part.get_filename() or part.get_content_type()) for part in message.iter_attachments()]
        listed = f"<p>Files: {', '.join(files)}</p>" if files else ""
        return HTMLResponse(f'{_STYLE}<p><a href="/">all</a><table>{fields}</table>{listed}{"".join(parts)}')

    return Starlette(routes=[Route("/", index), Route("/{name}", show)])


async def main(folder: Path, smtp_port: int, page_port: int) -> None:
    """Serve SMTP and the page until SIGTERM."""
    loop = asyncio.get_running_loop()
    catcher = Catcher(folder)
    server = await loop.create_server(
        lambda: SMTP(catcher, enable_SMTPUTF8=True, hostname="catcher", loop=loop), "127.0.0.1", smtp_port
    )
    config = uvicorn.Config(page(folder), host="127.0.0.1", port=page_port, log_level="warning")
    try:
        await uvicorn.Server(config).serve()  # until SIGTERM
    finally:
        server.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
