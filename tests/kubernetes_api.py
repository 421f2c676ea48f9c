"""A stand-in for a Kubernetes API server, for kubectl itself to talk to.

It keeps objects and refuses what their schemas refuse. It has no kubelet: a Deployment is out at once and a Job
complete, unless a test says that an image is broken, or slow. It may keep an answer back, so that a test can kill
whoever waits for it.
"""

import copy
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml

from tests.kubernetes_discovery import RESOURCES, VERSION, Object, Resource, described
from tests.unit.deploy.k8s.schemas import Refusal, refusal

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
REVISION = "deployment.kubernetes.io/revision"


Key = tuple[str, str, str]
"""Kind, namespace, name."""


class Failure(Exception):
    """An answer other than success: HTTP status, reason and message."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


@dataclass
class KubernetesApi:
    """The objects, and what the cluster does with them."""

    objects: dict[Key, Object] = field(default_factory=dict)
    broken_images: set[str] = field(default_factory=set)
    """Deployments with one of these do not come up, and Jobs fail."""
    slow_images: set[str] = field(default_factory=set)
    """Deployments with one of these are not up yet, and Jobs still run; until `settle`."""
    written: list[Key] = field(default_factory=list)
    """What has been created or changed, in order."""
    denied: Key | None = None
    """A policy of the cluster that a dry run does not ask lets nobody write this."""
    hold: tuple[str, str] | None = None
    """Method and end of the path: such a write is done, but not answered before `let_go`."""
    held: threading.Event = field(default_factory=threading.Event)
    _released: threading.Event = field(default_factory=threading.Event)
    _version: int = 100
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def names(self, kind: str, namespace: str) -> set[str]:
        """The names of the objects of a kind."""
        return {name for one, there, name in self.objects if (one, there) == (kind, namespace)}

    def write(self, resource: Resource, key: Key, new: Object, *, dry_run: bool) -> Object:
        """Create or replace an object, as the control loops leave it. Raises Failure."""
        if key == self.denied and not dry_run:
            raise Failure(403, "Forbidden", f'admission webhook "policy" denied the request: {key[2]}')
        with self._lock:
            before = self.objects.get(key)
            if resource.namespaced and ("Namespace", "", key[1]) not in self.objects:
                raise Failure(404, "NotFound", f'namespaces "{key[1]}" not found')
            given = {"apiVersion": resource.api, "kind": resource.kind, **new}
            if found := refusal({name: part for name, part in given.items() if name != "status"}, VERSION):
                raise _failure(resource, key, found)
            done = self._settled(given, before, resource, key)
            if before is not None and _same(before, done):
                return before
            if not dry_run:
                self._keep(key, done)
                self.written.append(key)
            return done

    def keep_back(self, method: str, path: str) -> None:
        """Return when a test lets the answer through."""
        if self.hold and self.hold[0] == method and path.endswith(self.hold[1]):
            self.held.set()
            self._released.wait()

    def let_go(self) -> None:
        """Hold nothing any more."""
        self.hold = None
        self._released.set()
        self.held, self._released = threading.Event(), threading.Event()

    def settle(self) -> None:
        """The slow images are slow no longer."""
        self.slow_images.clear()
        with self._lock:
            for key, one in list(self.objects.items()):
                resource = next(resource for resource in RESOURCES if resource.kind == key[0])
                self._keep(key, self._settled(one, one, resource, key))

    def _keep(self, key: Key, done: Object) -> None:
        self._version += 1
        done["metadata"]["resourceVersion"] = str(self._version)
        self.objects[key] = done

    def _settled(self, new: Object, before: Object | None, resource: Resource, key: Key) -> Object:
        """The object with the metadata and status that a cluster gives it."""
        done = copy.deepcopy(new)
        had = (before or {}).get("metadata", {})
        metadata = done.setdefault("metadata", {})
        metadata |= {
            "uid": had.get("uid") or str(uuid.uuid4()),
            "resourceVersion": had.get("resourceVersion", "0"),
        }
        metadata["creationTimestamp"] = "2026-01-01T00:00:00Z"
        if resource.namespaced:
            metadata["namespace"] = key[1]
        if resource.kind == "StatefulSet":
            done["spec"].setdefault("updateStrategy", {"type": "RollingUpdate"})  # kubectl asks for it
        changed = before is None or before.get("spec") != done.get("spec")
        metadata["generation"] = had.get("generation", 0) + changed
        if resource.kind in ("Deployment", "StatefulSet", "Job"):
            images = {one["image"] for one in done["spec"]["template"]["spec"]["containers"]}
            ready = None if images & self.slow_images else not images & self.broken_images
            done["status"] = (
                _job_status(ready) if resource.kind == "Job" else _workload_status(done, metadata, ready)
            )
        return done

    def put(self, manifest: Object, namespace: str = "") -> None:
        """Write an object as if kubectl had."""
        resource = next(one for one in RESOURCES if one.kind == manifest["kind"])
        key = (resource.kind, namespace if resource.namespaced else "", manifest["metadata"]["name"])
        self.write(resource, key, copy.deepcopy(manifest), dry_run=False)


def _same(before: Object, after: Object) -> bool:
    def content(one: Object) -> Object:
        metadata = {name: part for name, part in one["metadata"].items() if name != "resourceVersion"}
        return {**one, "metadata": metadata}

    return content(before) == content(after)


def _workload_status(done: Object, metadata: Object, ready: bool | None) -> Object:
    replicas = done["spec"].get("replicas", 1)
    progress = {
        True: ("True", "NewReplicaSetAvailable"),
        False: ("False", "ProgressDeadlineExceeded"),
        None: ("True", "ReplicaSetUpdated"),
    }[ready]
    return {
        "observedGeneration": metadata["generation"],
        "replicas": replicas,
        "updatedReplicas": replicas,
        "readyReplicas": replicas if ready else 0,
        "availableReplicas": replicas if ready else 0,
        "currentRevision": "1",
        "updateRevision": "1",
        "conditions": [{"type": "Progressing", "status": progress[0], "reason": progress[1]}],
    }


def _job_status(succeeds: bool | None) -> Object:
    if succeeds is None:
        return {"active": 1}
    return {"conditions": [{"type": "Complete" if succeeds else "Failed", "status": "True"}]}


def _failure(resource: Resource, key: Key, found: Refusal) -> Failure:
    """A server that validates strictly cannot decode what it does not know; what it can decode may be invalid."""
    if found.undecodable:
        message = f'{resource.kind} in version "{resource.api}" cannot be handled as a {resource.kind}: {found}'
        return Failure(400, "BadRequest", message)
    return Failure(422, "Invalid", f'{resource.kind} "{key[2]}" is invalid: {found}')


class Handler(BaseHTTPRequestHandler):
    """The HTTP side. `api` is set by `serving`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    api: KubernetesApi

    def log_message(self, *_args: object) -> None:
        """Log nothing."""

    def _handle(self) -> None:
        url = urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            if "protobuf" in (self.headers.get("Content-Type") or ""):  # as of `kubectl create secret`
                raise Failure(415, "UnsupportedMediaType", "only JSON and YAML are read")
            body = yaml.safe_load(content) if content else None
            about = described(url.path)
            status, document = about or self._objects(url.path, dict(parse_qsl(url.query)), body)
        except Failure as failure:
            self._answer(
                failure.status,
                {
                    "kind": "Status",
                    "apiVersion": "v1",
                    "status": "Failure",
                    "message": str(failure),
                    "reason": failure.reason,
                    "code": failure.status,
                },
            )
        else:
            if "dryRun" not in url.query:
                self.api.keep_back(self.command, url.path)
            with suppress(ConnectionError):  # whoever asked was killed
                self._answer(status, document)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def _answer(self, status: int, document: Object | list[Object]) -> None:
        """A list is the events of a watch."""
        is_watch = isinstance(document, list)
        lines = document if isinstance(document, list) else [document]
        text = b"\n".join(json.dumps(line).encode() for line in lines) + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        if is_watch:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(text)

    def _objects(self, path: str, query: dict[str, str], body: Object | None) -> tuple[int, Object | list[Object]]:
        resource, namespace, name = _parsed(path)
        api = self.api
        if self.command == "GET" and not name:
            return 200, _listed(api, resource, namespace, query)
        name = name or (body or {}).get("metadata", {}).get("name", "")
        key = (resource.kind, namespace, name)
        there = api.objects.get(key)
        dry_run = query.get("dryRun") == "All"
        if self.command == "POST":
            if there is not None:
                raise Failure(409, "AlreadyExists", f'{resource.plural} "{name}" already exists')
            return 201, api.write(resource, key, body or {}, dry_run=dry_run)
        if there is None:
            raise Failure(404, "NotFound", f'{resource.plural} "{name}" not found')
        if self.command == "GET":
            return 200, there
        if self.command == "DELETE":
            del api.objects[key]
            return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        return 200, api.write(resource, key, _patched(there, body or {}), dry_run=dry_run)


def _patched(there: Object, patch: Object) -> Object:
    """The object after a patch. That of `kubectl apply` says in an annotation what the whole object is to be."""
    applied = (patch.get("metadata", {}).get("annotations") or {}).get(LAST_APPLIED)
    if applied is None:  # `kubectl diff`
        merged: Object = _merged(there, patch)
        return merged
    new: Object = json.loads(applied)
    new["metadata"].setdefault("annotations", {})[LAST_APPLIED] = applied
    return new


def _merged(old: Any, patch: Any) -> Any:
    """A strategic merge, as far as it is needed: lists of named things are merged by name, others replaced."""
    if isinstance(old, dict) and isinstance(patch, dict):
        kept = {name: part for name, part in old.items() if name not in patch}
        given = {name: part for name, part in patch.items() if part is not None and not name.startswith("$")}
        return kept | {name: _merged(old.get(name), part) for name, part in given.items()}
    if isinstance(old, list) and isinstance(patch, list) and all("name" in one for one in patch):
        given = {one["name"]: one for one in patch}
        return [_merged(one, given.pop(one["name"], one)) for one in old] + list(given.values())
    return patch


def _parsed(path: str) -> tuple[Resource, str, str]:
    """The resource, namespace and name that a path names. Raises Failure."""
    for resource in RESOURCES:
        rest = (
            path.removeprefix(resource.path).strip("/").split("/") if path.startswith(resource.path + "/") else []
        )
        namespace = ""
        if resource.namespaced and rest[:1] == ["namespaces"] and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        if rest[:1] == [resource.plural] and len(rest) < 3:
            return resource, namespace, rest[1] if len(rest) > 1 else ""
    raise Failure(404, "NotFound", f"{path} is not served")


def _listed(
    api: KubernetesApi, resource: Resource, namespace: str, query: dict[str, str]
) -> Object | list[Object]:
    items = [
        one
        for (kind, there, name), one in sorted(api.objects.items())
        if kind == resource.kind
        and namespace in ("", there)
        and _selected(one["metadata"].get("labels") or {}, query.get("labelSelector", ""))
        and query.get("fieldSelector", f"metadata.name={name}") == f"metadata.name={name}"
    ]
    if query.get("watch") in ("1", "true"):
        events = [{"type": "ADDED", "object": one} for one in items]
        if query.get("sendInitialEvents") == "true":  # newer clients list by watching, and wait for this mark
            mark = {"resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}}
            bookmark = {"kind": resource.kind, "apiVersion": resource.api, "metadata": mark}
            events.append({"type": "BOOKMARK", "object": bookmark})
        return events
    metadata = {"resourceVersion": "1"}
    return {"kind": f"{resource.kind}List", "apiVersion": resource.api, "metadata": metadata, "items": items}


def _selected(labels: dict[str, str], selector: str) -> bool:
    terms = [term.split("=") for term in selector.split(",") if term]
    return all(labels.get(term[0]) == term[1] if len(term) > 1 else term[0] in labels for term in terms)


@contextmanager
def serving(api: KubernetesApi, folder: Path) -> Iterator[Path]:
    """Serve `api` on a free port of this machine. Yields a file for KUBECONFIG, written into `folder`."""
    handler = type("Handler", (Handler,), {"api": api})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "somebody", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "somebody"}}],
        "current-context": "here",
    }
    path = folder / "kubeconfig.yaml"
    path.write_text(yaml.safe_dump(config))
    try:
        yield path
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
