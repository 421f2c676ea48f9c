"""A release is killed at each of its steps; what the next deploy and the next rollback then do."""

import signal
from collections.abc import Awaitable, Callable

import pytest

from libs.common.contracts.services import SERVICES
from tests.integration.deploy.release.checkout import Checkout, image
from tests.kubernetes_api import KubernetesApi

Reached = Callable[[], Awaitable[bool]]
JOB = ("Job", "argosy-staging", "migrations")


def beginning(checkout: Checkout) -> Reached:
    """Its record is written."""
    return _held(checkout.api, "POST", "/configmaps")


def migrating(checkout: Checkout) -> Reached:
    checkout.api.slow_images.add(image("migrations", "2"))

    async def runs() -> bool:
        return bool(checkout.api.objects.get(JOB, {}).get("status", {}).get("active"))

    return runs


def applying(checkout: Checkout) -> Reached:
    """Some of it is applied."""
    return _held(checkout.api, "PATCH", "/deployments/mailer")


def waiting(checkout: Checkout) -> Reached:
    """All of it is applied, and comes up."""
    checkout.api.slow_images |= {image(service.name, "2") for service in SERVICES}

    async def applied() -> bool:
        return checkout.images() == checkout.api.slow_images

    return applied


def undoing(checkout: Checkout) -> Reached:
    """It does not come up, and some of it is changed back."""
    all_applied = waiting(checkout)

    async def undoes() -> bool:
        if checkout.api.hold is None and await all_applied():
            checkout.api.hold = ("PATCH", "/deployments/mailer")
            checkout.api.broken_images.add(image("ocr", "2"))
            checkout.api.settle()
        return checkout.api.held.is_set()

    return undoes


def keeping(checkout: Checkout) -> Reached:
    """It is up, and what it replaced is removed."""
    return _held(checkout.api, "DELETE", "/services/old")


STEPS = [beginning, migrating, applying, waiting, undoing, keeping]
ON_THE_WAY = [migrating, applying, waiting, undoing]


def _held(api: KubernetesApi, method: str, path: str) -> Reached:
    api.hold = (method, path)

    async def held() -> bool:
        return api.held.is_set()

    return held


async def kill(checkout: Checkout, step: Callable[[Checkout], Reached]) -> None:
    """Release 1 is out. Release 2 has other images, a Service more and a Service less, and is killed."""
    checkout.add("old")
    checkout.done("deploy")
    checkout.use_images("2")
    checkout.add("new")
    checkout.remove("old")
    await checkout.killed(step(checkout))
    assert checkout.kept() == {1: True, 2: False}
    checkout.api.broken_images.clear()


@pytest.mark.parametrize("step", STEPS)
async def test_the_next_deploy_completes_it(checkout: Checkout, step: Callable[[Checkout], Reached]) -> None:
    await kill(checkout, step)
    if checkout.api.objects[JOB]["status"].get("active"):
        assert "The migrations of another release are still running." in checkout.refused("deploy", "--killed")
    checkout.api.settle()
    assert "has release 3, commit " in checkout.done("deploy", "--killed")
    assert checkout.images() == {image(service.name, "2") for service in SERVICES}
    assert checkout.kept() == {1: True, 3: True}
    assert checkout.api.names("Service", "argosy-staging") >= {"gateway", "new"}
    assert "old" not in checkout.api.names("Service", "argosy-staging")


@pytest.mark.parametrize("step", ON_THE_WAY)
async def test_the_next_rollback_undoes_it(checkout: Checkout, step: Callable[[Checkout], Reached]) -> None:
    """Even while its migrations still run: they are such that the version before works on with them."""
    await kill(checkout, step)
    assert "has release 1 again, as release 3" in checkout.done("rollback", "--killed")
    assert checkout.images() == {image(service.name, "1") for service in SERVICES}
    assert checkout.kept() == {1: True, 3: True}
    assert checkout.api.names("Service", "argosy-staging") >= {"gateway", "old"}
    assert "new" not in checkout.api.names("Service", "argosy-staging")


async def test_an_interrupted_release_says_how_to_go_on(checkout: Checkout) -> None:
    checkout.done("deploy")
    checkout.use_images("2")
    told = await checkout.killed(waiting(checkout), by=signal.SIGINT)
    assert "Traceback" not in told
    assert "KILLED=1" in told
    for action in ("deploy", "rollback"):
        assert "Release 2, of commit" in checkout.refused(action), "unless somebody says that it was killed"
    checkout.api.settle()
    assert "has release 3, commit " in checkout.done("deploy", "--killed")
    assert "has release 1 again, as release 4" in checkout.done("rollback")


async def test_after_a_killed_first_release_there_is_only_the_way_on(checkout: Checkout) -> None:
    await checkout.killed(_held(checkout.api, "POST", "/deployments"))
    assert "There is no such earlier release" in checkout.refused("rollback", "--killed")
    checkout.add("new")
    assert "has release 2" in checkout.done("deploy", "--killed")
    assert checkout.kept() == {2: True}


async def test_what_several_killed_releases_left_is_removed(checkout: Checkout) -> None:
    checkout.done("deploy")
    for name in ("second", "third"):
        checkout.add(name)
        await checkout.killed(_held(checkout.api, "POST", "/services"), "--killed")
        checkout.remove(name)
    assert checkout.kept() == {1: True, 2: False, 3: False}
    told = checkout.done("deploy", "--killed")
    assert {line for line in told.splitlines() if line.startswith("deleted")} == {
        "deleted: service second",
        "deleted: service third",
    }
    assert checkout.kept() == {1: True, 4: True}
