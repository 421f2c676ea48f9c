"""Asks the schemas of Kubernetes whether an API server would take the manifests."""

from collections.abc import Sequence
from functools import cache
from unittest.mock import patch

import kubernetes_validate
from kubernetes_validate import utils

from deploy.k8s.rendering import Manifest

OLDEST, NEWEST = "1.28", kubernetes_validate.latest_version()
_read_once = cache(utils.schema_contents)
"""Otherwise megabytes of definitions are read again for each object."""


def refused(manifests: Sequence[Manifest], version: str) -> list[str]:
    """What the API server of that version would say; it refuses unknown fields too."""
    found = []
    with patch.object(utils, "schema_contents", _read_once):
        for manifest in manifests:
            try:
                kubernetes_validate.validate(manifest, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                found.append(f"{manifest['kind']} {manifest['metadata']['name']}: {error.message}")
    return found
