"""What kubectl asks a Kubernetes API server about itself, as the stand-in answers it."""

from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
VERSION = "1.32"


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


def described(path: str) -> tuple[int, Object] | None:
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
