"""An HTTP server on a thread of its own, for tests whose other side is a process or another library."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], let_go: Callable[[], object]) -> Iterator[int]:
    """Serve by `handler`; the value is the port. At the end, `let_go` lets those go on that are kept waiting."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        let_go()
        server.shutdown()
        server.server_close()
        thread.join()
