"""What must hold for the manifests of an environment. Each rule tells what breaks it."""

import re
from collections.abc import Callable, Iterator, Sequence

from deploy.k8s.rendering import (
    Manifest,
    container_of,
    environment_of,
    find,
    names_of,
    pod_of,
)
from deploy.local import settings as fleet
from libs.common.contracts.services import SERVICES, ScaledBy, ServiceRow
from tests.unit.deploy.k8s.settings_given import given_to

Rule = Callable[[Sequence[Manifest], Sequence[ServiceRow]], Iterator[str]]
RULES: dict[str, Rule] = {}
WORKLOADS = ("Deployment", "StatefulSet", "Job")
VOLUMES = {"emptyDir", "configMap", "secret", "projected", "persistentVolumeClaim"}
"""Those that restricted Pod Security allows and that are used here."""
WORKER_ITSELF_MB = 300
"""What a worker takes besides its sandboxed processes, measured with room to spare."""
SANDBOXES = {"ocr": "OCR_MEMORY_MB", "mailer": "MAIL_COMPOSE_MEMORY_MB"}
"""The memory of one sandboxed process; a worker has as many as slots."""
UNITS = {"": 1, "Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}


def rule(function: Rule) -> Rule:
    RULES[function.__name__] = function
    return function


def broken(manifests: Sequence[Manifest], services: Sequence[ServiceRow] = SERVICES) -> list[str]:
    """All that is wrong, as `rule: what`."""
    return [f"{name}: {what}" for name, check in RULES.items() for what in check(manifests, services)]


def workloads(manifests: Sequence[Manifest]) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in WORKLOADS]


def deployments(manifests: Sequence[Manifest]) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == "Deployment"]


def name_of(manifest: Manifest) -> str:
    return str(manifest["metadata"]["name"])


def size(quantity: str) -> int:
    """Bytes. Raises ValueError."""
    match = re.fullmatch(r"(\d+)(Ki|Mi|Gi|)", quantity)
    if match is None:
        raise ValueError(f"{quantity} is no size")
    return int(match[1]) * UNITS[match[2]]


def wrong(manifest: Manifest, **conditions: bool) -> Iterator[str]:
    """The names of the conditions that do not hold."""
    for what, holds in conditions.items():
        if not holds:
            yield f"{manifest['kind']} {name_of(manifest)}: {what}"


@rule
def pods_are_restricted(manifests: Sequence[Manifest], _services: Sequence[ServiceRow]) -> Iterator[str]:
    for workload in workloads(manifests):
        pod = pod_of(workload)
        confined = container_of(workload).get("securityContext", {})
        user = pod.get("securityContext", {})
        yield from wrong(
            workload,
            runs_as_somebody=user.get("runAsNonRoot") is True and user.get("runAsUser", 0) > 0,
            has_seccomp=user.get("seccompProfile") == {"type": "RuntimeDefault"},
            gains_nothing=confined.get("allowPrivilegeEscalation") is False and not confined.get("privileged"),
            has_no_capabilities=confined.get("capabilities") == {"drop": ["ALL"]},
            overrides_no_user=not confined.keys() & {"runAsUser", "runAsNonRoot", "seccompProfile"},
            is_apart_from_its_host=not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"},
            has_harmless_volumes=all(volume.keys() & VOLUMES for volume in pod.get("volumes", [])),
            has_no_host_ports=not any("hostPort" in port for port in container_of(workload).get("ports", [])),
        )


@rule
def namespaces_refuse_other_pods(manifests: Sequence[Manifest], _services: Sequence[ServiceRow]) -> Iterator[str]:
    for namespace in (manifest for manifest in manifests if manifest["kind"] == "Namespace"):
        labels = namespace["metadata"]["labels"]
        restricted = labels.get("pod-security.kubernetes.io/enforce") == "restricted"
        yield from wrong(namespace, enforces_restricted_pods=restricted)


@rule
def pods_know_nothing_of_the_cluster(
    manifests: Sequence[Manifest], _services: Sequence[ServiceRow]
) -> Iterator[str]:
    for workload in workloads(manifests):
        pod = pod_of(workload)
        yield from wrong(
            workload,
            has_no_token=pod.get("automountServiceAccountToken") is False,
            has_no_service_links=pod.get("enableServiceLinks") is False,
        )
    for account in (manifest for manifest in manifests if manifest["kind"] == "ServiceAccount"):
        yield from wrong(account, has_no_token=account.get("automountServiceAccountToken") is False)


@rule
def each_has_an_account_of_its_own(
    manifests: Sequence[Manifest], _services: Sequence[ServiceRow]
) -> Iterator[str]:
    accounts = names_of(manifests, "ServiceAccount")
    for workload in workloads(manifests):
        if workload["kind"] != "StatefulSet":
            own = pod_of(workload).get("serviceAccountName") == name_of(workload)
            yield from wrong(workload, has_its_own_account=own and name_of(workload) in accounts)


@rule
def files_are_written_to_bounded_folders_only(
    manifests: Sequence[Manifest], _services: Sequence[ServiceRow]
) -> Iterator[str]:
    for workload in workloads(manifests):
        container, volumes = container_of(workload), pod_of(workload).get("volumes", [])
        folders = [volume["emptyDir"] for volume in volumes if "emptyDir" in volume]
        mounts = {mount["mountPath"] for mount in container.get("volumeMounts", [])}
        yield from wrong(
            workload,
            has_a_read_only_root=container["securityContext"].get("readOnlyRootFilesystem") is True,
            has_bounded_folders=all("sizeLimit" in folder for folder in folders),
            can_write_to_tmp=workload["kind"] == "StatefulSet" or "/tmp" in mounts,  # noqa: S108
        )


@rule
def the_autoscaler_alone_says_how_many(
    manifests: Sequence[Manifest], _services: Sequence[ServiceRow]
) -> Iterator[str]:
    scaled = [*names_of(manifests, "HorizontalPodAutoscaler"), *names_of(manifests, "ScaledObject")]
    for workload in deployments(manifests):
        yield from wrong(
            workload,
            has_no_replicas="replicas" not in workload["spec"],
            has_one_autoscaler=scaled.count(name_of(workload)) == 1,
        )


@rule
def workers_follow_their_queue(manifests: Sequence[Manifest], services: Sequence[ServiceRow]) -> Iterator[str]:
    for service in services:
        for scaler in (one for one in manifests if one["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")):
            if name_of(scaler) == service.name:
                yield from _scaling(manifests, scaler, service)


def _scaling(manifests: Sequence[Manifest], scaler: Manifest, service: ServiceRow) -> Iterator[str]:
    spec = scaler["spec"]
    if service.scaled_by is ScaledBy.CPU:
        cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}
        yield from wrong(scaler, follows_cpu=spec["metrics"] == [{"type": "Resource", "resource": cpu}])
        return
    settings = environment_of(manifests, find(manifests, "Deployment", service.name))
    slots = settings[str(service.concurrency_variable)]
    if scaler["kind"] == "ScaledObject":
        namespace = names_of(manifests, "Namespace")[0]
        (trigger,) = spec["triggers"]
        wanted = {
            "url": f"http://gateway-probes.{namespace}.svc:9100/slots-wanted",
            "valueLocation": service.name,
            "targetValue": slots,
        }
        yield from wrong(
            scaler,
            asks_a_gateway=trigger == {"type": "metrics-api", "metricType": "AverageValue", "metadata": wanted},
            keeps_one=spec["minReplicaCount"] >= 1,
            holds_without_an_answer="fallback" not in spec,
        )
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    else:
        metric = {"name": "argosy_slots_wanted", "selector": {"matchLabels": {"queue": service.name}}}
        target = {"type": "AverageValue", "averageValue": slots}
        external = {"metric": metric, "target": target}
        yield from wrong(scaler, follows_its_queue=spec["metrics"] == [{"type": "External", "external": external}])
        behavior = spec["behavior"]
    up, down = behavior["scaleUp"], behavior["scaleDown"]
    yield from wrong(
        scaler,
        grows_at_once=up["stabilizationWindowSeconds"] == 0
        and [(one["type"], one["value"], one["periodSeconds"]) for one in up["policies"]]
        == [("Percent", 100, 15), ("Pods", 4, 15)],
        shrinks_slowly=down["stabilizationWindowSeconds"] == 300
        and down["policies"] == [{"type": "Percent", "value": 20, "periodSeconds": 60}],
    )


@rule
def rollouts_take_nothing_away(manifests: Sequence[Manifest], _services: Sequence[ServiceRow]) -> Iterator[str]:
    for workload in deployments(manifests):
        spec = workload["spec"]
        yield from wrong(
            workload,
            adds_one_first=spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0},
            keeps_five_versions=spec.get("revisionHistoryLimit") == 5,
            drains_by_itself="lifecycle" not in container_of(workload),
        )


@rule
def evictions_take_one_at_a_time(manifests: Sequence[Manifest], _services: Sequence[ServiceRow]) -> Iterator[str]:
    for workload in deployments(manifests):
        if name_of(workload) not in names_of(manifests, "PodDisruptionBudget"):
            yield f"{name_of(workload)} has no budget"
            continue
        spec = find(manifests, "PodDisruptionBudget", name_of(workload))["spec"]
        yield from wrong(
            workload,
            loses_one_at_most=spec.get("maxUnavailable") == 1 and "minAvailable" not in spec,
            has_a_budget_for_its_pods=spec["selector"] == workload["spec"]["selector"],
        )


@rule
def pods_are_spread_over_nodes(manifests: Sequence[Manifest], _services: Sequence[ServiceRow]) -> Iterator[str]:
    for workload in deployments(manifests):
        spread = pod_of(workload).get("topologySpreadConstraints", [])
        own = workload["spec"]["selector"]
        hosts = [one for one in spread if one["topologyKey"] == "kubernetes.io/hostname"]
        yield from wrong(workload, is_spread=[one["labelSelector"] for one in hosts] == [own])


@rule
def resources_are_said(manifests: Sequence[Manifest], _services: Sequence[ServiceRow]) -> Iterator[str]:
    for workload in workloads(manifests):
        resources = container_of(workload).get("resources", {})
        requests, limits = resources.get("requests", {}), resources.get("limits", {})
        yield from wrong(
            workload,
            asks_for_cpu=re.fullmatch(r"[1-9]\d*m?", str(requests.get("cpu", ""))) is not None,
            has_no_limit_of_cpu="cpu" not in limits,  # an event loop that is throttled is late for everybody
        )
        try:
            fits = 0 < size(requests["memory"]) <= size(limits["memory"])
        except (KeyError, ValueError):
            fits = False
        yield from wrong(workload, has_a_limit_of_memory=fits)


@rule
def sandboxes_fit_into_memory(manifests: Sequence[Manifest], services: Sequence[ServiceRow]) -> Iterator[str]:
    """Otherwise the kernel kills the pod with all its jobs, where a sandbox refuses one of them by name."""
    for service in services:
        if service.name not in SANDBOXES or service.name not in names_of(manifests, "Deployment"):
            continue
        workload = find(manifests, "Deployment", service.name)
        settings = environment_of(manifests, workload)
        each, slots = int(settings[SANDBOXES[service.name]]), int(settings[str(service.concurrency_variable)])
        limit_mb = size(container_of(workload)["resources"]["limits"]["memory"]) // 1024**2
        yield from wrong(workload, fits=slots * each + WORKER_ITSELF_MB < limit_mb)


@rule
def images_are_named_by_digest(manifests: Sequence[Manifest], _services: Sequence[ServiceRow]) -> Iterator[str]:
    for workload in workloads(manifests):
        if workload["kind"] != "StatefulSet":  # the servers are not ours, and never in production
            image = container_of(workload)["image"]
            by_digest = re.fullmatch(rf"\S+/argosy/{name_of(workload)}@sha256:[0-9a-f]{{64}}", image)
            yield from wrong(workload, has_an_image_by_digest=by_digest is not None)


@rule
def labels_say_whose_it_is(manifests: Sequence[Manifest], _services: Sequence[ServiceRow]) -> Iterator[str]:
    for manifest in manifests:
        part = manifest["metadata"].get("labels", {}).get("app.kubernetes.io/part-of", "")
        yield from wrong(manifest, is_part_of_argosy=part.startswith("argosy"))
    for workload in (one for one in workloads(manifests) if one["kind"] != "Job"):
        selector = workload["spec"]["selector"]  # cannot be changed later, so it has what never changes
        own = {"matchLabels": {"app.kubernetes.io/name": name_of(workload)}}
        yield from wrong(workload, is_selected_by_name_only=selector == own)


@rule
def probes_ask_the_process_only(manifests: Sequence[Manifest], _services: Sequence[ServiceRow]) -> Iterator[str]:
    wanted = {
        "startupProbe": ("/livez", 2, 60),
        "livenessProbe": ("/livez", 10, 3),
        "readinessProbe": ("/readyz", 1, 3),
    }
    for workload in deployments(manifests):
        container = container_of(workload)
        for kind, expected in wanted.items():
            probe = container.get(kind, {"httpGet": {}})
            request = probe["httpGet"]
            found = (request.get("path"), probe.get("periodSeconds"), probe.get("failureThreshold"))
            yield from wrong(workload, **{kind: found == expected and request.get("port") == "probes"})
        probes = [port["containerPort"] for port in container["ports"] if port["name"] == "probes"]
        yield from wrong(workload, has_its_probes_at_9100=probes == [9100])


@rule
def secrets_are_named_and_not_written(
    manifests: Sequence[Manifest], services: Sequence[ServiceRow]
) -> Iterator[str]:
    yield from (f"Secret {name} is written down" for name in names_of(manifests, "Secret"))
    secret = {
        name.upper()
        for service in services
        for name, field in fleet.settings_of(service.name).model_fields.items()
        if "SecretStr" in str(field.annotation)
    } - {"BLOB_URL", "MAIL_RELAYS"}
    for settings in (manifest for manifest in manifests if manifest["kind"] == "ConfigMap"):
        for name, value in settings["data"].items():
            if name in secret or re.search(r"://[^/\s]*:[^/\s]*@", value):
                yield f"{name_of(settings)} gives {name}"


@rule
def what_is_referred_to_exists(manifests: Sequence[Manifest], _services: Sequence[ServiceRow]) -> Iterator[str]:
    config_maps, claims = names_of(manifests, "ConfigMap"), names_of(manifests, "PersistentVolumeClaim")
    for workload in workloads(manifests):
        sources = container_of(workload).get("envFrom", [])
        volumes = pod_of(workload).get("volumes", [])
        maps = [one["configMapRef"]["name"] for one in sources if "configMapRef" in one]
        maps += [one["configMap"]["name"] for one in volumes if "configMap" in one]
        wanted = [one["persistentVolumeClaim"]["claimName"] for one in volumes if "persistentVolumeClaim" in one]
        yield from wrong(
            workload,
            has_its_settings=all(name in config_maps for name in maps),
            has_its_volumes=all(name in claims for name in wanted),
        )
    for scaler in (one for one in manifests if one["kind"] == "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        yield from wrong(scaler, scales_something=target["name"] in names_of(manifests, target["kind"]))
    for service in (manifest for manifest in manifests if manifest["kind"] == "Service"):
        selector, ports = service["spec"]["selector"], service["spec"]["ports"]
        behind = [
            one for one in workloads(manifests)
            if selector.items() <= one["spec"]["template"]["metadata"]["labels"].items()
        ]  # fmt: skip
        names = {port["name"] for one in behind for port in container_of(one)["ports"]}
        yield from wrong(
            service, leads_somewhere={port.get("targetPort", port["name"]) for port in ports} <= names
        )


@rule
def the_table_of_services_is_what_runs(
    manifests: Sequence[Manifest], services: Sequence[ServiceRow]
) -> Iterator[str]:
    if not deployments(manifests):
        return
    if {service.name for service in services} != set(names_of(manifests, "Deployment")):
        yield f"{sorted(names_of(manifests, 'Deployment'))} run"
        return
    for service in services:
        workload = find(manifests, "Deployment", service.name)
        ports = {port["name"]: port["containerPort"] for port in container_of(workload)["ports"]}
        yield from wrong(workload, has_the_ports_of_its_row=ports == dict(service.ports))


@rule
def the_ingress_passes_everything_on(
    manifests: Sequence[Manifest], _services: Sequence[ServiceRow]
) -> Iterator[str]:
    for ingress in (manifest for manifest in manifests if manifest["kind"] == "Ingress"):
        settings = given_to(manifests, find(manifests, "Deployment", "gateway"))
        prefix = "nginx.ingress.kubernetes.io/proxy-"
        annotations = ingress["metadata"]["annotations"]
        body = int(annotations[f"{prefix}body-size"].removesuffix("m")) * 1024**2
        hosts = [one["host"] for one in ingress["spec"]["rules"]]
        yield from wrong(
            ingress,
            takes_whole_uploads=body > settings.gateway_max_upload_bytes,
            collects_no_requests=annotations.get(f"{prefix}request-buffering") == "off",
            collects_no_answers=annotations.get(f"{prefix}buffering") == "off",
            has_certificates=[host for one in ingress["spec"]["tls"] for host in one["hosts"]] == hosts,
        )


@rule
def staging_sends_no_mail(manifests: Sequence[Manifest], _services: Sequence[ServiceRow]) -> Iterator[str]:
    if "argosy-staging" not in names_of(manifests, "Namespace") or not deployments(manifests):
        return
    mailer = find(manifests, "Deployment", "mailer")
    relays = given_to(manifests, mailer).relay_urls
    calls = [
        peer
        for way in find(manifests, "NetworkPolicy", "mailer")["spec"]["egress"]
        for peer in way["to"]
    ]  # fmt: skip
    catcher = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "mail-catcher"}}}
    yield from wrong(
        mailer,
        has_the_catcher_as_its_relay=relays == ["smtp://mail-catcher:1025?tls=off"],
        reaches_the_catcher_only=calls == [catcher],
    )
