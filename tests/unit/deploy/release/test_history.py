"""What may be in the cluster, by the releases that are noted there."""

from collections.abc import Sequence

import pytest

from deploy.k8s.rendering import Manifest
from deploy.release.history import Release, applied, gone


def objects(*names: str, kind: str = "Service") -> list[Manifest]:
    return [{"kind": kind, "metadata": {"name": name}} for name in names]


def release(number: int, *names: str, out: bool = True) -> Release:
    return Release(number, "0" * 40, objects(*names), "2030-01-01 00:00:00Z", out)


@pytest.mark.parametrize(
    ("history", "there"),
    [
        ([], []),
        ([release(1, "a")], ["a"]),
        ([release(1, "a"), release(2, "b")], ["b"]),
        ([release(1, "a"), release(2, "b", out=False)], ["a", "b"]),
        (
            [release(1, "a"), release(2, "b"), release(3, "c", out=False), release(4, "d", out=False)],
            ["b", "c", "d"],
        ),
        ([release(1, "a", out=False), release(2, "b", out=False)], ["a", "b"]),
    ],
)
def test_what_may_be_there_is_of_the_last_release_and_of_those_killed_after_it(
    history: Sequence[Release], there: list[str]
) -> None:
    assert [one["metadata"]["name"] for one in applied(history)] == there


def test_what_is_gone_is_named_once_and_never_holds_data() -> None:
    before = [
        *objects("a", "b", "a"),
        *objects("c", kind="ConfigMap"),
        *objects("d", kind="PersistentVolumeClaim"),
    ]
    assert gone(before, objects("b")) == [("service", "a")]
