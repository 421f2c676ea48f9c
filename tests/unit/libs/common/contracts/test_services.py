"""The table of services is true: all that each row needs exists; of a new row the test says what is missing."""

import json
import re
import tomllib
from dataclasses import replace
from importlib import import_module
from itertools import permutations
from pathlib import Path

import pytest

from deploy.permissions import REDIS_COMMANDS, nats_accounts, postgres_logins, redis_users
from libs.common.contracts.services import (
    MAILER,
    OCR,
    PROBES,
    SERVICES,
    Need,
    RedisRights,
    Role,
    ServiceRow,
    queues_of,
    role_of,
)

ROOT = Path(__file__).resolve().parents[5]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
MIGRATIONS = "".join(path.read_text() for path in sorted((ROOT / "deploy/migrations/versions").glob("*.py")))
CUSTOMS = replace(
    OCR,
    name="customs",
    schema="customs",
    role=Role("argosy_customs", "argosy_customs_tenant"),
    concurrency_variable="CUSTOMS_CONCURRENCY",
    redis=RedisRights(prefixes=("argosy:customs:",), commands=("get",)),
)
"""A worker that does not exist."""
SERVICES_WITH_REDIS = [service for service in SERVICES if Need.REDIS in service.needs]


def missing(service: ServiceRow) -> list[str]:
    """What has to be made before `service` can run, in the order in which one would make it."""
    folder = ROOT / "services" / service.name
    files = ["__init__.py", "__main__.py", "config.py"] + (["handler.py"] if service.is_worker else [])
    lacking = [f"services/{service.name}/{name}" for name in files if not (folder / name).is_file()]
    if service.name not in EXTRAS:
        lacking.append(f"pyproject.toml: an extra {service.name}")
    if not any(service.name in re.split(r"[\[\],]", line) for line in EXTRAS["local"]):
        lacking.append(f"pyproject.toml: {service.name} in the extra local")
    if not re.search(rf"CREATE SCHEMA {service.schema}\b|provisioning\.service\(\"{service.schema}\"", MIGRATIONS):
        lacking.append(f"a migration that creates the schema {service.schema}")
    lacking += [
        f"a migration that creates the role {name}" for name in service.role.names if f"{name}" not in MIGRATIONS
    ]
    if not list((ROOT / "tests").glob(f"*/services/{service.name}")):
        lacking.append(f"tests/unit/services/{service.name} or tests/integration/services/{service.name}")
    if not re.search(rf"\b{service.name}\b", "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))):
        lacking.append(f"a page in docs/ that tells of {service.name}")
    if f"(services/{service.name})" not in (ROOT / "README.md").read_text():
        lacking.append(f"README.md: {service.name} in the table of services")
    return lacking + missing_manifests(service)


def missing_manifests(service: ServiceRow) -> list[str]:
    """What has to be made before `service` can run on Kubernetes."""
    k8s, folder = ROOT / "deploy" / "k8s", f"services/{service.name}"
    files = ("kustomization.yaml", "deployment.yaml", "settings.env", "secrets.example.env")
    lacking = [f"deploy/k8s/{folder}/{name}" for name in files if not (k8s / folder / name).is_file()]
    lists = {"base": f"../services/{service.name}\n"}
    lists |= {f"overlays/{name}/images": f"argosy/{service.name}," for name in ("staging", "production")}
    if service.is_worker:
        lists["components/keda"] = f"{service.name}.yaml"
    return lacking + [
        f"deploy/k8s/{place}/kustomization.yaml: {service.name}"
        for place, entry in lists.items()
        if entry not in (k8s / place / "kustomization.yaml").read_text()
    ]


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_all_that_a_service_needs_exists(service: ServiceRow) -> None:
    assert not missing(service), "missing:\n" + "\n".join(missing(service))


def test_of_a_new_row_is_said_what_else_must_exist() -> None:
    assert missing(CUSTOMS) == [
        "services/customs/__init__.py",
        "services/customs/__main__.py",
        "services/customs/config.py",
        "services/customs/handler.py",
        "pyproject.toml: an extra customs",
        "pyproject.toml: customs in the extra local",
        "a migration that creates the schema customs",
        "a migration that creates the role argosy_customs",
        "a migration that creates the role argosy_customs_tenant",
        "tests/unit/services/customs or tests/integration/services/customs",
        "a page in docs/ that tells of customs",
        "README.md: customs in the table of services",
        "deploy/k8s/services/customs/kustomization.yaml",
        "deploy/k8s/services/customs/deployment.yaml",
        "deploy/k8s/services/customs/settings.env",
        "deploy/k8s/services/customs/secrets.example.env",
        "deploy/k8s/base/kustomization.yaml: customs",
        "deploy/k8s/overlays/staging/images/kustomization.yaml: customs",
        "deploy/k8s/overlays/production/images/kustomization.yaml: customs",
        "deploy/k8s/components/keda/kustomization.yaml: customs",
    ]


def test_a_new_row_has_its_logins_and_its_account_without_another_word() -> None:
    services = (*SERVICES, CUSTOMS)
    login = postgres_logins(lambda _service: "'x'", services)["argosy_customs_login"]
    assert login.endswith("IN ROLE argosy_customs, argosy_customs_tenant")
    text = nats_accounts(lambda service: f'"{service} password"', services=services)
    accounts = json.loads(text.removeprefix("accounts: "))
    assert accounts["customs"]["users"] == [{"user": "customs", "password": "customs password"}]
    exported_to_it = [
        subject
        for export in accounts["fleet"]["exports"]
        if export["accounts"] == ["customs"]
        for kind, subject in export.items()
        if kind in ("service", "stream")
    ]
    assert all(subject.endswith(".customs") or "TICKETS_customs." in subject for subject in exported_to_it)
    assert "tickets.customs" in exported_to_it
    user = redis_users(lambda service: f">{service}", services)[-1]
    assert user.startswith("user customs reset on >customs resetchannels ~argosy:customs:* -@all +evalsha ")


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in (ROOT / "services").glob("*/__main__.py")))
def test_every_service_has_a_row(folder: str) -> None:
    assert folder in {service.name for service in SERVICES}


def test_names_roles_and_schemas_are_each_services_own() -> None:
    for values in (
        [service.name for service in SERVICES],
        [service.schema for service in SERVICES],
        [name for service in SERVICES for name in service.role.names],
    ):
        assert len(values) == len(set(values))


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_a_row_fits_the_services_settings(service: ServiceRow) -> None:
    if not (ROOT / "services" / service.name / "config.py").exists():
        pytest.skip("the test above says that it is missing")
    settings = import_module(f"services.{service.name}.config").Settings
    fields = settings.model_fields
    assert ("redis_url" in fields) == (Need.REDIS in service.needs) == (service.redis is not None)
    assert ("blob_url" in fields) == (Need.BLOBS in service.needs)
    assert fields["probes_port"].default == service.ports["probes"] == PROBES
    if service.concurrency_variable is not None:
        assert service.concurrency_variable.lower() in fields
    assert service.is_worker == (service.concurrency_variable is not None)


@pytest.mark.parametrize("service", SERVICES_WITH_REDIS, ids=lambda service: service.name)
def test_a_service_may_do_in_redis_what_its_scripts_and_modules_do(service: ServiceRow) -> None:
    """`+zadd` and the like; a command that nobody sends any more is a right too many."""
    assert service.redis is not None
    folder = ROOT / "services" / service.name
    scripts = "".join(path.read_text() for path in folder.rglob("*.lua"))
    modules = "".join(text for path in folder.rglob("*.py") if "redis" in (text := path.read_text()))
    in_scripts = {command.lower() for command in re.findall(r"redis\.p?call\('(\w+)'", scripts)}
    in_modules = set(re.findall(r"(?:redis|pipeline)\.([a-z]+)\(", modules)) - {"pipeline", "execute", "aclose"}
    assert scripts.count("redis.call(") == len(re.findall(r"redis\.call\('", scripts))
    assert {*service.redis.commands, *REDIS_COMMANDS} >= in_scripts | in_modules
    assert {*service.redis.commands} <= in_scripts | in_modules


def test_no_key_of_redis_belongs_to_two_services() -> None:
    prefixes = [prefix for row in SERVICES_WITH_REDIS if row.redis is not None for prefix in row.redis.prefixes]
    for one, other in permutations(prefixes, 2):
        assert not one.startswith(other)
    assert all(prefix.startswith("argosy:") and prefix.endswith(":") for prefix in prefixes)


@pytest.mark.parametrize("service", [row for row in SERVICES if row.is_worker], ids=lambda service: service.name)
def test_a_worker_may_only_make_jobs_of_queues_that_exist(service: ServiceRow) -> None:
    for target in service.may_enqueue:
        queue, _, kind = target.partition(":")
        assert queue in queues_of(SERVICES)
        assert queue != service.name
        assert kind


@pytest.mark.parametrize(
    ("name", "role"), [("ocr", OCR.role), ("mailer", MAILER.role), ("tides", Role.WORKER), ("", Role.WORKER)]
)
def test_a_service_works_as_the_role_of_its_name_or_as_any_worker(name: str, role: Role) -> None:
    assert role_of(name) == role
