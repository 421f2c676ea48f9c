"""The cluster's DNS: the addresses of Services, asked of the API server once a second. Debian has no CoreDNS."""

import json
import socketserver
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

from tests.cluster.node import ADDRESS, DOMAIN, Node

A_RECORD, NO_ERROR, NO_SUCH_NAME = 1, 0x8180, 0x8183


@contextmanager
def serving(node: Node) -> Iterator[None]:
    """Answer while the block runs."""
    known: dict[str, list[str]] = {}

    class Answering(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            question, socket = self.request
            socket.sendto(answer(question, known), self.client_address)

    def learn() -> None:
        while not ended.is_set():
            known.update(addresses(node))
            time.sleep(1)

    ended = threading.Event()
    with socketserver.ThreadingUDPServer((ADDRESS, 53), Answering) as server:
        threads = [threading.Thread(target=task, daemon=True) for task in (server.serve_forever, learn)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            server.shutdown()
            threads[1].join()


def addresses(node: Node) -> dict[str, list[str]]:
    """The addresses of each Service by its whole name; of a headless one, those of its pods."""
    services = json.loads(node.kubectl("get", "services,endpoints", "--all-namespaces", "--output=json"))["items"]
    found: dict[str, list[str]] = {}
    for one in services:
        name = f"{one['metadata']['name']}.{one['metadata']['namespace']}.svc.{DOMAIN}"
        if one["kind"] == "Service":
            found[name] = [one["spec"]["clusterIP"]]
        elif found.get(name) == ["None"]:
            subsets = one.get("subsets", ())
            found[name] = [there["ip"] for part in subsets for there in part.get("addresses", ())]
    return found


def answer(question: bytes, known: dict[str, list[str]]) -> bytes:
    """The reply to a question: RFC 1035, section 4."""
    labels, place = [], 12
    while length := question[place]:
        labels.append(question[place + 1 : place + 1 + length].decode().lower())
        place += 1 + length
    (kind,) = struct.unpack_from(">H", question, place + 1)
    name = ".".join(labels)
    found = known.get(name, []) if kind == A_RECORD else []
    status = NO_ERROR if name in known else NO_SUCH_NAME
    header = question[:2] + struct.pack(">HHHHH", status, 1, len(found), 0, 0)
    record = struct.pack(">HHHIH", 0xC00C, A_RECORD, 1, 1, 4)  # the name is that of the question; kept for 1 s
    return header + question[12 : place + 5] + b"".join(record + IPv4Address(one).packed for one in found)
