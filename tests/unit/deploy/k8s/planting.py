"""Changes one place of rendered manifests, so that a test can see that it is noticed."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from deploy.k8s.rendering import Manifest

GONE = object()
"""In place of a value: remove it."""


def changed(manifests: Sequence[Manifest], kind: str, name: str, path: str, value: Any) -> list[Manifest]:
    """A copy in which `path` of the object is `value`: keys and list indexes with `/` between, `~` for theirs.

    The generated name of a ConfigMap is given without its hash. Raises LookupError if there is no such place.
    """
    copy = deepcopy(list(manifests))
    place: Any
    (place,) = (one for one in copy if one["kind"] == kind and _name(one) == name)
    keys = [int(key) if key.isdigit() else key.replace("~", "/") for key in path.split("/")]
    for key in keys[:-1]:
        place = place[key]
    if value is GONE:
        del place[keys[-1]]
    elif isinstance(place, list) and keys[-1] == len(place):
        place.append(value)
    else:
        place[keys[-1]] = value
    return copy


def _name(manifest: Manifest) -> str:
    name: str = manifest["metadata"]["name"]
    return name.rpartition("-")[0] if manifest["kind"] == "ConfigMap" else name


def without(manifests: Sequence[Manifest], kind: str, name: str) -> list[Manifest]:
    """All but one object. Raises LookupError if it is not there."""
    rest = [one for one in manifests if (one["kind"], one["metadata"]["name"]) != (kind, name)]
    if len(rest) == len(manifests):
        raise LookupError(f"There is no {kind} {name}")
    return rest
