"""A bucket that speaks enough of S3's protocol for obstore, and misbehaves as a test wants."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit

from tests import http_serving

DATE = "Wed, 21 Oct 2015 07:28:00 GMT"


@dataclass
class Bucket:
    """What it holds, and what it does instead of answering as it should."""

    port: int = 0
    blobs: dict[str, bytes] = field(default_factory=dict)
    parts: dict[int, bytes] = field(default_factory=dict)
    """Of the upload that goes on."""
    refuses: tuple[int, str] | None = None
    """The status and the code of every answer."""
    hangs: bool = False
    """It takes requests and answers none."""
    cuts_after: int | None = None
    """Bytes after which a blob that is read breaks off."""
    refuses_after_cut: bool = False
    slow_s: float = 0.0
    """How long it takes for every part of an upload."""
    refuses_after_parts: int | None = None
    """How many parts it takes before it refuses the next."""
    reads: int = 0
    """How often a blob has been read, in whole or in part."""
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def refusal(self) -> tuple[int, str] | None:
        """The status and the code of the answer to what it refuses now."""
        if self.refuses_after_parts is not None and len(self.parts) >= self.refuses_after_parts:
            return 503, "SlowDown"
        return self.refuses

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which obstore finds it; its client waits 2 s for an answer."""
        return {
            "AWS_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "nowhere",
            "AWS_TIMEOUT": "2s",
        }

    def put(self, key: str, query: dict[str, list[str]], body: bytes, source: str | None) -> bytes | None:
        """PUT: a blob, a part of one, or a copy. None: there is no source."""
        if source is not None:
            if source not in self.blobs:
                return None
            self.blobs[key] = self.blobs[source]
            return (
                f"<CopyObjectResult><LastModified>{DATE}</LastModified><ETag>e</ETag></CopyObjectResult>".encode()
            )
        if "partNumber" in query:
            self.over.wait(self.slow_s)
            self.parts[int(query["partNumber"][0])] = body
        else:
            self.blobs[key] = body
        return b""

    def post(self, key: str, query: dict[str, list[str]], body: bytes) -> bytes:
        """POST: the begin and the end of an upload in parts, or a deletion of many."""
        if "uploads" in query:
            self.parts.clear()
            return b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
        if "uploadId" in query:
            self.blobs[key] = b"".join(self.parts[number] for number in sorted(self.parts))
            self.parts.clear()
            return b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
        names = re.findall(r"<Key>(.*?)</Key>", body.decode())
        for name in names:
            self.blobs.pop(name, None)
        gone = "".join(f"<Deleted><Key>{name}</Key></Deleted>" for name in names)
        return f"<DeleteResult>{gone}</DeleteResult>".encode()

    def listed(self, prefix: str) -> bytes:
        """The keys that begin with `prefix`."""
        found = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(content)}</Size><ETag>e</ETag>"
            "<LastModified>2015-10-21T07:28:00.000Z</LastModified></Contents>"
            for key, content in sorted(self.blobs.items())
            if key.startswith(prefix)
        )
        return f"<ListBucketResult>{found}</ListBucketResult>".encode()


def _key(path: str) -> str:
    """The key in `/bucket/key`."""
    return unquote(path).removeprefix("/").partition("/")[2]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bucket: Bucket

    def do_GET(self) -> None:
        key, query, _ = self._request()
        if self._misbehaves():
            return
        if "list-type" in query:
            self._answer(200, self.bucket.listed(query["prefix"][0]))
        else:
            self._send_blob(key)

    def do_PUT(self) -> None:
        key, query, body = self._request()
        if not self._misbehaves():
            source = self.headers.get("x-amz-copy-source")
            answer = self.bucket.put(key, query, body, source and _key(source))
            self._answer(200, answer) if answer is not None else self._refuse(404, "NoSuchKey")

    def do_POST(self) -> None:
        key, query, body = self._request()
        if not self._misbehaves():
            self._answer(200, self.bucket.post(key, query, body))

    def do_DELETE(self) -> None:
        self._request()
        self.bucket.parts.clear()  # an upload is aborted
        self._answer(204, b"")

    do_HEAD = do_GET

    def _request(self) -> tuple[str, dict[str, list[str]], bytes]:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        return _key(url.path), parse_qs(url.query, keep_blank_values=True), body

    def _misbehaves(self) -> bool:
        if self.bucket.hangs:
            self.bucket.over.wait()
            self.close_connection = True
        elif (refusal := self.bucket.refusal) is not None:
            self._refuse(*refusal)
        return self.bucket.hangs or refusal is not None

    def _send_blob(self, key: str) -> None:
        content = self.bucket.blobs.get(key)
        if content is None:
            self._refuse(404, "NoSuchKey")
            return
        self.bucket.reads += 1
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range") or "")
        start, last = (int(wanted[1]), int(wanted[2] or len(content) - 1)) if wanted else (0, len(content) - 1)
        part = content[start : last + 1]
        status = 206 if wanted else 200
        placed = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
        cut = self.bucket.cuts_after
        if cut is None or len(part) <= cut:
            self._answer(status, part, placed=placed)
            return
        if self.bucket.refuses_after_cut:
            self.bucket.refuses = (503, "SlowDown")
        self._answer(status, part[:cut], announced=len(part), placed=placed)
        self.close_connection = True

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code></Error>".encode())

    def _answer(self, status: int, body: bytes, *, announced: int | None = None, placed: str = "") -> None:
        self.send_response(status)
        self.send_header("ETag", '"e"')
        self.send_header("Last-Modified", DATE)
        if status == 206:
            self.send_header("Content-Range", placed)
        self.send_header("Content-Length", str(len(body) if announced is None else announced))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Log nothing."""


@contextmanager
def serving() -> Iterator[Bucket]:
    """A bucket named `bucket`, while the block runs."""
    bucket = Bucket()
    handler = type("Handler", (_Handler,), {"bucket": bucket})
    with http_serving.serving(handler, bucket.over.set) as bucket.port:
        yield bucket
