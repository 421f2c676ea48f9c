"""A stand-in for a Kubernetes API server, for kubectl itself to talk to.

It keeps objects and refuses what their schemas refuse. It has no kubelet: a Deployment is out at once and a Job
complete, unless a test says that an image is broken.
"""

import copy
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml

Object = dict[str, Any]
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
REVISION = "deployment.kubernetes.io/revision"


@dataclass(frozen=True)
class Resource:
    """A kind that is served."""

    api: str
    """Group and version; the core group has only a version."""
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def path(self) -> str:
        """The prefix of its group and version."""
        return f"/apis/{self.api}" if "/" in self.api else f"/api/{self.api}"


RESOURCES = (
    Resource("v1", "namespaces", "Namespace", namespaced=False),
    Resource("v1", "configmaps", "ConfigMap"),
    Resource("v1", "secrets", "Secret"),
    Resource("v1", "services", "Service"),
    Resource("v1", "serviceaccounts", "ServiceAccount"),
    Resource("v1", "pods", "Pod"),
    Resource("v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
    Resource("apps/v1", "deployments", "Deployment"),
    Resource("apps/v1", "replicasets", "ReplicaSet"),
    Resource("apps/v1", "statefulsets", "StatefulSet"),
    Resource("batch/v1", "jobs", "Job"),
    Resource("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    Resource("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget"),
    Resource("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy"),
    Resource("networking.k8s.io/v1", "ingresses", "Ingress"),
    Resource("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", namespaced=False),
)
Key = tuple[str, str, str]
"""Kind, namespace, name."""


class Failure(Exception):
    """An answer other than success: HTTP status, reason and message."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


@dataclass
class KubernetesApi:
    """The objects, and what the cluster does with them. `validate` raises ValueError for what a schema refuses."""

    validate: Callable[[Object], None] = lambda _object: None
    objects: dict[Key, Object] = field(default_factory=dict)
    broken_images: set[str] = field(default_factory=set)
    """Deployments with one of these do not come up, and Jobs fail."""
    written: list[Key] = field(default_factory=list)
    """What has been created or changed, in order."""
    _version: int = 100
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def names(self, kind: str, namespace: str) -> set[str]:
        """The names of the objects of a kind."""
        return {name for one, there, name in self.objects if (one, there) == (kind, namespace)}

    def write(self, resource: Resource, key: Key, new: Object, *, dry_run: bool) -> Object:
        """Create or replace an object, as the control loops leave it. Raises Failure."""
        with self._lock:
            before = self.objects.get(key)
            if resource.namespaced and ("Namespace", "", key[1]) not in self.objects:
                raise Failure(404, "NotFound", f'namespaces "{key[1]}" not found')
            try:
                self.validate({name: part for name, part in new.items() if name != "status"})
            except ValueError as error:
                raise Failure(422, "Invalid", f'{resource.kind} "{key[2]}" is invalid: {error}') from error
            done = _settled(new, before, resource, key, self.broken_images)
            if before is not None and _same(before, done):
                return before
            if not dry_run:
                self._version += 1
                done["metadata"]["resourceVersion"] = str(self._version)
                self.objects[key] = done
                self.written.append(key)
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


def _settled(new: Object, before: Object | None, resource: Resource, key: Key, broken: set[str]) -> Object:
    """The object with the metadata and status that a cluster gives it."""
    done = {"apiVersion": resource.api, "kind": resource.kind, **copy.deepcopy(new)}
    had = (before or {}).get("metadata", {})
    metadata = done.setdefault("metadata", {})
    metadata |= {"uid": had.get("uid") or str(uuid.uuid4()), "resourceVersion": had.get("resourceVersion", "0")}
    metadata["creationTimestamp"] = "2026-01-01T00:00:00Z"
    if resource.namespaced:
        metadata["namespace"] = key[1]
    changed = before is None or before.get("spec") != done.get("spec")
    metadata["generation"] = had.get("generation", 0) + changed
    if resource.kind in ("Deployment", "StatefulSet", "Job"):
        images = {one["image"] for one in done["spec"]["template"]["spec"]["containers"]}
        ready = not images & broken
        done["status"] = _job_status(ready) if resource.kind == "Job" else _workload_status(done, metadata, ready)
    return done


def _workload_status(done: Object, metadata: Object, ready: bool) -> Object:
    replicas = done["spec"].get("replicas", 1)
    progress = ("True", "NewReplicaSetAvailable") if ready else ("False", "ProgressDeadlineExceeded")
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


def _job_status(succeeds: bool) -> Object:
    return {"conditions": [{"type": "Complete" if succeeds else "Failed", "status": "True"}]}


class Handler(BaseHTTPRequestHandler):
    """The HTTP side. `api` is set by `serving`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    api: KubernetesApi

    def log_message(self, *_args: object) -> None:
        """Log nothing."""

    def _handle(self) -> None:
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = yaml.safe_load(self.rfile.read(length)) if length else None
        try:
            about = _described(url.path)
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


def _described(path: str) -> tuple[int, Object] | None:
    """What kubectl asks about the server itself; None for any other path."""
    apis = sorted({resource.api for resource in RESOURCES if "/" in resource.api})
    match path.strip("/").split("/"):
        case ["version"]:
            return 200, {"major": "1", "minor": "32", "gitVersion": "v1.32.0"}
        case ["api"]:
            return 200, {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["apis"]:
            versions = [{"groupVersion": api, "version": api.split("/")[1]} for api in apis]
            groups = [
                {"name": one["groupVersion"].split("/")[0], "versions": [one], "preferredVersion": one}
                for one in versions
            ]
            return 200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        case ["openapi", "v3"]:
            paths = {one.path.strip("/"): {"serverRelativeURL": f"/openapi/v3{one.path}"} for one in RESOURCES}
            return 200, {"paths": paths}
        case ["openapi", "v3", *rest]:
            return 200, _openapi("/" + "/".join(rest))
        case ["api", version]:
            return 200, _resources(version)
        case ["apis", group, version]:
            return 200, _resources(f"{group}/{version}")
    return None


def _resources(api: str) -> Object:
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    resources = [
        {
            "name": one.plural,
            "singularName": one.kind.lower(),
            "namespaced": one.namespaced,
            "kind": one.kind,
            "verbs": verbs,
        }
        for one in RESOURCES
        if one.api == api
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api, "resources": resources}


def _openapi(prefix: str) -> Object:
    """As much as kubectl reads: that the server itself validates fields, so that kubectl need not."""
    paths, schemas = {}, {}
    parameters = [
        {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
        for name in ("dryRun", "fieldManager", "fieldValidation", "force")
    ]
    for one in RESOURCES:
        if one.path == prefix:
            group, _, version = one.api.rpartition("/")
            kind = {"group": group, "version": version, "kind": one.kind}
            schemas[f"{one.api}.{one.kind}".replace("/", ".")] = {
                "type": "object",
                "x-kubernetes-group-version-kind": [kind],
            }
            url = prefix + ("/namespaces/{namespace}" if one.namespaced else "") + f"/{one.plural}"
            for method, action, path in (("patch", "patch", url + "/{name}"), ("post", "post", url)):
                operation = {
                    "parameters": parameters,
                    "x-kubernetes-action": action,
                    "x-kubernetes-group-version-kind": kind,
                    "responses": {"200": {"description": "OK"}},
                }
                paths[path] = {method: operation}
    info = {"title": "Kubernetes", "version": "1.32"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


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
