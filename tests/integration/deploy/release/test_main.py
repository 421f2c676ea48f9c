"""make deploy and make rollback. kubectl and git are real; the cluster is a stand-in."""

import json

from deploy.release.checks import NOT_BUILT
from deploy.release.history import BEGUN_LABEL, KEPT
from libs.common.contracts.services import SERVICES
from tests.integration.deploy.release.checkout import Checkout, image


def test_all_is_applied_after_the_migrations(checkout: Checkout) -> None:
    told = checkout.done("deploy")
    assert "argosy-staging has release 1, commit " in told
    order = [(kind, name) for kind, _, name in checkout.api.written]
    assert order.index(("Job", "migrations")) < order.index(("Deployment", "gateway"))
    assert checkout.api.names("Deployment", "argosy-staging") == {service.name for service in SERVICES}
    assert checkout.kept() == {1: True}


def test_the_same_again_changes_nothing(checkout: Checkout) -> None:
    checkout.done("deploy")
    checkout.api.written.clear()
    assert "Nothing was changed" in checkout.done("deploy")
    assert checkout.api.written == []


def test_the_difference_is_shown(checkout: Checkout) -> None:
    checkout.done("deploy")
    checkout.use_images("2")
    assert f"+        image: registry.example.com/argosy/ocr@sha256:{64 * '2'}" in checkout.done("deploy")


def test_what_does_not_come_up_is_undone(checkout: Checkout) -> None:
    checkout.done("deploy")
    good = checkout.images()
    checkout.use_images("2")
    checkout.api.broken_images.add(image("ocr", "2"))
    told = checkout.refused("deploy")
    assert "The release failed and was undone: release 1 is out again." in told
    assert checkout.images() == good
    assert checkout.kept() == {1: True}
    checkout.api.broken_images.clear()
    assert "has release 2" in checkout.done("deploy"), "it can be tried again"


def test_what_only_a_failed_release_had_is_removed(checkout: Checkout) -> None:
    checkout.done("deploy")
    checkout.use_images("2", "staging")
    checkout.add("extra")
    checkout.api.broken_images.add(image("ocr", "2"))
    checkout.refused("deploy")
    assert "extra" not in checkout.api.names("Service", "argosy-staging")
    checkout.api.broken_images.clear()
    checkout.done("deploy")
    assert "extra" in checkout.api.names("Service", "argosy-staging")
    checkout.remove("extra")
    assert "deleted: service extra" in checkout.done("deploy")
    assert "extra" not in checkout.api.names("Service", "argosy-staging")


def test_what_the_cluster_refuses_halfway_is_undone(checkout: Checkout) -> None:
    checkout.done("deploy")
    good = checkout.images()
    checkout.use_images("2", "staging")
    checkout.add("extra")
    checkout.api.denied = ("Deployment", "argosy-staging", "ocr")
    assert "release 1 is out again" in checkout.refused("deploy")
    assert checkout.images() == good
    assert "extra" not in checkout.api.names("Service", "argosy-staging")
    assert checkout.kept() == {1: True}


def test_a_first_release_that_fails_has_nothing_to_go_back_to(checkout: Checkout) -> None:
    checkout.api.broken_images.add(image("ocr", "1"))
    assert "There is no release before it to go back to." in checkout.refused("deploy")


def test_failing_migrations_leave_the_pods_as_they_were(checkout: Checkout) -> None:
    checkout.done("deploy")
    good = checkout.images()
    checkout.use_images("2")
    checkout.api.broken_images.add(image("migrations", "2"))
    assert "The migrations failed. The pods are as they were." in checkout.refused("deploy")
    assert checkout.images() == good


def test_while_a_release_is_under_way_another_is_refused(checkout: Checkout) -> None:
    checkout.done("deploy")
    begun = checkout.api.objects["ConfigMap", "argosy-staging", "argosy-release-1"]
    begun["metadata"]["labels"][BEGUN_LABEL] = "true"
    begun["data"] |= {"since": "2026-01-01 00:00:00Z", "commit": "0123456789abcdef"}
    checkout.use_images("2")
    for action in ("deploy", "rollback"):
        told = checkout.refused(action)
        assert "Release 1, of commit 0123456789ab, is under way since 2026-01-01 00:00:00Z." in told
        assert "KILLED=1" in told
    assert checkout.images() == {image(service.name, "1") for service in SERVICES}
    assert checkout.kept() == {1: False}, "it is the other's"


def test_of_two_that_begin_at_the_same_time_one_is_refused(checkout: Checkout) -> None:
    """The other's is there before this one's, but not yet when this one looks."""
    metadata = {"name": "argosy-release-1"}
    checkout.api.put({"kind": "ConfigMap", "metadata": metadata, "data": {}}, "argosy-staging")
    assert "Another release was begun meanwhile." in checkout.refused("deploy")
    assert checkout.images() == set()


def test_going_back_brings_the_images_and_settings_of_before(checkout: Checkout) -> None:
    checkout.done("deploy")
    checkout.use_images("2")
    checkout.done("deploy")
    assert "has release 1 again, as release 3" in checkout.done("rollback")
    assert all(image.endswith(64 * "1") for image in checkout.images())
    assert "has release 2 again, as release 4" in checkout.done("rollback", "--to=2")
    assert all(image.endswith(64 * "2") for image in checkout.images())
    assert "Kept before the present one: 1, 2, 3." in checkout.refused("rollback", "--to=9")


def test_without_an_earlier_release_there_is_no_way_back(checkout: Checkout) -> None:
    checkout.done("deploy")
    assert "There is no such earlier release" in checkout.refused("rollback")


def test_settings_stay_as_long_as_a_kept_release_needs_them(checkout: Checkout) -> None:
    path = checkout.folder / "deploy/k8s/overlays/staging/gateway.env"
    original = path.read_text()
    seen = []
    for number in range(KEPT + 2):
        path.write_text(f"{original}\nGATEWAY_MAX_KEYS={number + 1}\n")
        checkout.commit()
        checkout.done("deploy")
        kept = {name for name in checkout.api.names("ConfigMap", "argosy-staging") if name.startswith("gateway-")}
        seen.append(kept)
    assert [len(kept) for kept in seen] == [1, 2, 3, 4, 5, 5, 5]
    releases = {name for name in checkout.api.names("ConfigMap", "argosy-staging") if name.startswith("argosy-")}
    assert releases == {f"argosy-release-{number}" for number in range(3, KEPT + 3)}


def test_a_changed_secret_restarts_the_pods_that_read_it(checkout: Checkout) -> None:
    checkout.done("deploy")
    secret = {"kind": "Secret", "metadata": {"name": "ocr-secrets"}, "data": {"A": "Mg=="}}
    checkout.api.put(secret, "argosy-staging")
    checkout.api.written.clear()
    checkout.done("deploy")
    assert [name for kind, _, name in checkout.api.written if kind == "Deployment"] == ["ocr"]


def test_a_missing_secret_is_named_before_anything_is_changed(checkout: Checkout) -> None:
    del checkout.api.objects["Secret", "argosy-staging", "ocr-secrets"]
    told = checkout.refused("deploy")
    assert "argosy-staging lacks the Secrets ocr-secrets: see secrets.example.env." in told
    assert checkout.images() == set()


def test_a_cluster_without_the_namespace_is_taken_for_the_wrong_one(checkout: Checkout) -> None:
    for key in list(checkout.api.objects):
        del checkout.api.objects[key]
    assert "Is it the right one?" in checkout.refused("deploy")
    assert checkout.api.objects == {}
    told = checkout.refused("deploy", "--first")
    assert "lacks the Secrets" in told
    assert list(checkout.api.objects) == [("Namespace", "", "argosy-staging")]
    checkout.give_secrets()
    assert "has release 1" in checkout.done("deploy")


def test_a_field_that_the_cluster_does_not_know_is_refused_before_anything_is_changed(checkout: Checkout) -> None:
    path = "deploy/k8s/base/process.yaml"
    text = (checkout.folder / path).read_text()
    checkout.write(path, text.replace("readinessProbe:", "readynessProbe:"))
    checkout.commit()
    checkout.api.written.clear()
    told = checkout.refused("deploy")
    assert "BadRequest" in told
    assert "readynessProbe" in told
    assert checkout.api.written == []


def test_the_same_manifests_by_hand_change_nothing(checkout: Checkout) -> None:
    """kubectl calls disruption budgets `configured` each time: it always sends their selector."""
    checkout.done("deploy")
    (release,) = (
        one for one in checkout.api.objects.values() if "argosy/release" in (one["metadata"].get("labels") or {})
    )
    checkout.api.written.clear()
    given = "\n".join(map(json.dumps, json.loads(release["data"]["manifests"])))
    told = checkout.kubectl("apply", "--filename=-", given=given)
    assert {line.split("/")[0] for line in told.splitlines() if not line.endswith(" unchanged")} == {
        "poddisruptionbudget.policy"
    }
    assert checkout.api.written == []


def test_an_unknown_context_is_refused(checkout: Checkout) -> None:
    assert 'context "elsewhere" does not exist' in checkout.refused("deploy", "--context=elsewhere")


def test_files_that_differ_from_the_commit_are_refused(checkout: Checkout) -> None:
    checkout.write("deploy/k8s/overlays/staging/note.txt", "not committed")
    assert "note.txt" in checkout.refused("deploy")


def test_images_that_were_not_built_are_refused(checkout: Checkout) -> None:
    checkout.use_images("0")
    told = checkout.refused("deploy")
    assert f"registry.example.com/argosy/ocr{NOT_BUILT}" in told
    assert "make images" in told


def test_manifests_that_cannot_be_rendered_are_refused(checkout: Checkout) -> None:
    checkout.write("deploy/k8s/overlays/staging/kustomization.yaml", "resources: [nowhere]")
    checkout.commit()
    assert "nowhere" in checkout.refused("deploy")


def test_production_is_changed_only_when_somebody_says_so(checkout: Checkout) -> None:
    checkout.give_secrets("production")
    assert "YES=1" in checkout.refused("deploy", environment="production")
    assert checkout.images("production") == set()
    assert "argosy-production has release 1" in checkout.done("deploy", "--yes", environment="production")
    assert len(checkout.images("production")) == len(SERVICES)


def test_a_server_that_is_away_is_said(checkout: Checkout) -> None:
    checkout.environment["KUBECONFIG"] = str(checkout.folder / "nothing-here")
    assert "kubectl get" in checkout.refused("deploy")
