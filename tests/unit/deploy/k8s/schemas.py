"""Asks the schemas of Kubernetes whether an API server would take the manifests."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from unittest.mock import patch

import kubernetes_validate
from kubernetes_validate import utils

from deploy.k8s.rendering import Manifest

OLDEST, NEWEST = "1.28", kubernetes_validate.latest_version()
_read_once = cache(utils.schema_contents)
"""Otherwise megabytes of definitions are read again for each object."""
_listed_once = cache(utils.all_versions)
"""Otherwise the folders of all versions are listed twice for each object, and sorted."""


@dataclass(frozen=True)
class Refusal:
    """Why an API server takes no such object. `undecodable`: because of an unknown field, or a value's type."""

    place: str
    message: str
    undecodable: bool

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


def refusal(manifest: Manifest, version: str) -> Refusal | None:
    """What the API server of that version would say; it refuses unknown fields too."""
    with patch.multiple(utils, schema_contents=_read_once, all_versions=_listed_once):
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            place = ".".join(map(str, error.absolute_path))
            return Refusal(place, error.message, error.validator in ("additionalProperties", "type"))
    return None


def refused(manifests: Sequence[Manifest], version: str) -> list[str]:
    """What it would say of all of them."""
    found = ((manifest, refusal(manifest, version)) for manifest in manifests)
    return [f"{one['kind']} {one['metadata']['name']}: {wrong.message}" for one, wrong in found if wrong]
