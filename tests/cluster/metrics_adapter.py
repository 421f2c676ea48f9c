"""Serves `argosy_slots_wanted`, as gateways answer it, to autoscalers, as an adapter for external metrics does."""

import json
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.cluster.node import ADDRESS, Node

PORT = 6444
GROUP = "/apis/external.metrics.k8s.io/v1beta1"
METRIC = "argosy_slots_wanted"
KIND = {"kind": "ExternalMetricValueList", "apiVersion": "external.metrics.k8s.io/v1beta1", "metadata": {}}
RESOURCE = {"name": METRIC, "singularName": "", "namespaced": True, "kind": KIND["kind"], "verbs": ["get"]}
RESOURCES: dict[str, object] = {
    "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP.removeprefix("/apis/"),
    "resources": [RESOURCE],
}  # fmt: skip
REGISTERED = [
    {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "metrics", "namespace": "kube-system"},
        "spec": {"ports": [{"port": 443, "targetPort": PORT}]},
    },
    {
        "apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "metrics", "namespace": "kube-system"},
        "subsets": [{"addresses": [{"ip": ADDRESS}], "ports": [{"port": PORT}]}],
    },
    {
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
        "spec": {
            "group": "external.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100,
            "versionPriority": 100, "insecureSkipTLSVerify": True,
            "service": {"name": "metrics", "namespace": "kube-system"},
        },
    },
]  # fmt: skip


@contextmanager
def serving(node: Node, slots_url: str) -> Iterator[None]:
    """Answer while the block runs. `slots_url`: where a gateway answers as JSON."""

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            status, body = 200, dict(RESOURCES)
            if asked.path.endswith(f"/{METRIC}"):
                status, body = _value(slots_url, parse_qs(asked.query)["labelSelector"][0])
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    certificate, key = node.folder / "metrics.crt", node.folder / "metrics.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=metrics", "-days", "1",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with ThreadingHTTPServer((ADDRESS, PORT), Answering) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        node.kubectl("apply", "--filename=-", given="\n".join(json.dumps(one) for one in REGISTERED))
        try:
            yield
        finally:
            server.shutdown()


def _value(slots_url: str, selector: str) -> tuple[int, dict[str, object]]:
    """The answer for a queue, chosen by `selector` as queue=ocr; 503 while no gateway knows it."""
    queue = selector.removeprefix("queue=")
    try:
        with urllib.request.urlopen(slots_url, timeout=5) as told:
            wanted = json.load(told)[queue]
    except OSError as error:
        return 503, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": str(error)}
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    item = {"metricName": METRIC, "metricLabels": {"queue": queue}, "timestamp": now, "value": str(wanted)}
    return 200, KIND | {"items": [item]}
