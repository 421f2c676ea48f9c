"""What the pods are given is what the services read: nothing unknown, nothing missing, in both environments."""

from collections.abc import Sequence

import pytest
from pydantic import ValidationError

from deploy.k8s.rendering import ENVIRONMENTS, MANIFESTS, Manifest, find, overlay
from deploy.local.settings import variables_of as settings_read
from libs.common.config import DatabaseSettings
from libs.common.contracts.services import SERVICES, Need, ServiceRow
from tests.unit.deploy.k8s.planting import GONE, changed
from tests.unit.deploy.k8s.settings_given import given_to, template, variables_of
from tests.unit.deploy.k8s.trees import unchanged

MAY_DIFFER = {
    *("BLOB_URL", "NATS_REPLICAS", "GATEWAY_ENV", "TRUSTED_PROXIES", "CORS_ORIGINS", "RETENTION_DAYS"),
    *("RETENTION_MAX_BYTES", "MAIL_RELAYS", "MAIL_BOUNCE_DOMAIN", "MAIL_HELO", "PUBLIC_URL"),
}
EVERYWHERE = {"PROBES_HOST": "0.0.0.0", "GATEWAY_HOST": "0.0.0.0", "MAIL_LMTP_HOST": "0.0.0.0"}  # noqa: S104
"""What the default would bind to the inside of the pod."""
SAID = {
    *("DATABASE_URL", "NATS_URL", "BLOB_URL", "PROBES_HOST", "PROBES_PORT", "GATEWAY_ENV"),
    *("DB_MIN_CONNECTIONS", "DB_MAX_CONNECTIONS", "SHUTDOWN_GRACE_S", "TERMINATION_GRACE_S"),
}
"""What every service is told, also where its default would be the same."""
SAID_TO = {
    "gateway": {
        "TRUSTED_PROXIES",
        "GATEWAY_DRAIN_S",
        "GATEWAY_KEEP_ALIVE_S",
        "TOKEN_SECRET",
        "LINK_SECRET",
        "KEY_SECRET",
        "OCR_SECRET",
        "PUBLIC_URL",
    },
    "ocr": {"OCR_MEMORY_MB", "OCR_PAGE_TIMEOUT_S", "OCR_SECRET"},
    "mailer": {"MAIL_RELAYS", "MAIL_SECRET", "PUBLIC_URL", "MAIL_COMPOSE_MEMORY_MB", "MAIL_TIMEOUT_S"},
    "analytics": {"ANALYTICS_SECRET"},
    "sync": {"SYNC_SECRET", "SYNC_CONTACT_URL", "SYNC_MEMORY_MB"},
    "exporter": {"LINK_SECRET", "PUBLIC_URL"},
}


def mistakes(manifests: Sequence[Manifest], services: Sequence[ServiceRow] = SERVICES) -> list[str]:
    """Settings that a service does not know or cannot work with, and those that it is not told."""
    found = []
    for service in services:
        deployment = find(manifests, "Deployment", service.name)
        given = variables_of(manifests, deployment)
        wanted = (
            SAID | SAID_TO.get(service.name, set()) | ({"REDIS_URL"} if Need.REDIS in service.needs else set())
        )
        if service.concurrency_variable is not None:
            wanted |= {service.concurrency_variable}
        found += [
            f"{service.name}: {name} is unknown" for name in sorted(given.keys() - settings_read(service.name))
        ]
        found += [f"{service.name}: {name} is not said" for name in sorted(wanted - given.keys())]
        found += [
            f"{service.name}: {name} is not {value}"
            for name, value in EVERYWHERE.items()
            if given.get(name, value) != value
        ]
        try:
            given_to(manifests, deployment)
        except ValidationError as refused:
            found += [f"{service.name}: {error['msg']}" for error in refused.errors()]
    return found


def differences(staging: Sequence[Manifest], production: Sequence[Manifest]) -> list[str]:
    """Settings that one environment has and the other has not, or that differ and should not."""
    found = []
    for service in SERVICES:
        one, other = (
            variables_of(manifests, find(manifests, "Deployment", service.name))
            for manifests in (staging, production)
        )
        found += [f"{service.name}: {name} in one only" for name in sorted(one.keys() ^ other.keys())]
        found += [
            f"{service.name}: {name} differs"
            for name in sorted(one.keys() & other.keys() - MAY_DIFFER)
            if one[name] != other[name]
        ]
    return found


@pytest.fixture(scope="module")
def staging() -> list[Manifest]:
    return unchanged(overlay("staging"))


@pytest.fixture(scope="module")
def production() -> list[Manifest]:
    return unchanged(overlay("production"))


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_service_starts_with_what_it_is_given(environment: str) -> None:
    assert mistakes(unchanged(overlay(environment))) == []


def test_environments_differ_where_they_should_only(staging: list[Manifest], production: list[Manifest]) -> None:
    assert differences(staging, production) == []


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("ocr data/OCR_CONCURENCY", "2", "ocr: OCR_CONCURENCY is unknown"),
        ("fleet data/LIMITS", "api=off", "ocr: LIMITS is unknown"),
        ("ocr data/OCR_CONCURRENCY", GONE, "ocr: OCR_CONCURRENCY is not said"),
        ("fleet data/BLOB_URL", GONE, "mailer: BLOB_URL is not said"),
        ("fleet data/PROBES_HOST", "127.0.0.1", "ocr: PROBES_HOST is not 0.0.0.0"),
        ("gateway data/TRUSTED_PROXIES", GONE, "gateway: TRUSTED_PROXIES is not said"),
        ("gateway data/TRUSTED_PROXIES", GONE, "gateway: Value error, TRUSTED_PROXIES must be set"),
        ("gateway data/TERMINATION_GRACE_S", "30", "gateway: Value error, GATEWAY_DRAIN_S, SHUTDOWN_GRACE_S"),
        ("ocr data/OCR_MEMORY_MB", "lots", "ocr: Input should be a valid integer"),
    ],
)
def test_a_wrong_setting_is_told(production: list[Manifest], place: str, value: object, told: str) -> None:
    name, path = place.split()
    found = mistakes(changed(production, "ConfigMap", name, path, value))
    assert any(mistake.startswith(told) for mistake in found), found


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("mailer data/MAIL_LIMITS", "relay=100/s", "mailer: MAIL_LIMITS in one only"),
        ("gateway data/RETENTION_DAYS", GONE, "gateway: RETENTION_DAYS in one only"),
        ("ocr data/OCR_CONCURRENCY", "4", "ocr: OCR_CONCURRENCY differs"),
    ],
)
def test_what_is_in_one_environment_only_is_told(
    staging: list[Manifest], production: list[Manifest], place: str, value: object, told: str
) -> None:
    name, path = place.split()
    assert differences(staging, changed(production, "ConfigMap", name, path, value)) == [told]
    assert differences(changed(staging, "ConfigMap", name, path, value), production) == [told]


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_a_template_that_is_not_filled_in_starts_nothing(production: list[Manifest], service: ServiceRow) -> None:
    """Its passwords are refused by the servers; what no server checks is refused by the service itself."""
    path = MANIFESTS / "services" / service.name / "secrets.example.env"
    unchecked = [line for line in path.read_text().splitlines() if "_SECRET=" in line]
    assert all(line.endswith("=REPLACE") for line in unchecked)  # shorter than what a service takes
    assert all("PASSWORD" in value for name, value in template(path).items() if name.endswith("_URL"))


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_migrations_are_given_the_owners_address_and_nothing_else(environment: str) -> None:
    manifests = unchanged(overlay(environment) / "migrations")
    given = variables_of(manifests, find(manifests, "Job", "migrations"))
    assert given.keys() == {"DATABASE_URL"} <= {name.upper() for name in DatabaseSettings.model_fields}


def test_environments_differ_in_hosts_replicas_and_addresses_only(
    staging: list[Manifest], production: list[Manifest]
) -> None:
    one, other = (_flat(manifests) for manifests in (staging, production))
    differing = {path for path in one.keys() | other.keys() if one.get(path) != other.get(path)}
    allowed = (
        *(
            "ConfigMap",
            "PriorityClass",
            "Ingress/gateway/spec",
            "NetworkPolicy/to-",
            "NetworkPolicy/mailer/spec/egress",
        ),
        *("Deployment/mailer/spec/template/spec/containers/0/env/",),
    )
    wrong = {path for path in differing if not path.startswith(allowed) and not path.endswith("spec/minReplicas")}
    assert wrong == set()


def _flat(manifests: Sequence[Manifest]) -> dict[str, object]:
    """Every leaf by its path. Names without the hash of a ConfigMap and without the environment's."""
    leaves: dict[str, object] = {}

    def walk(path: str, part: object) -> None:
        if isinstance(part, dict):
            for key, value in part.items():
                walk(f"{path}/{key}", value)
        elif isinstance(part, list):
            for number, value in enumerate(part):
                walk(f"{path}/{number}", value)
        else:
            leaves[path] = _without(str(part))

    def _without(text: str) -> str:
        text = text.replace("argosy-staging", "argosy").replace("argosy-production", "argosy")
        return generated.get(text, text)

    generated: dict[str, str] = {
        one["metadata"]["name"]: one["metadata"]["name"].rpartition("-")[0]
        for one in manifests
        if one["kind"] == "ConfigMap"
    }
    for one in manifests:
        walk(f"{one['kind']}/{_without(one['metadata']['name'])}", one)
    return leaves
