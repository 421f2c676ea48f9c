"""The JSON documents of exports and links, for /openapi.json."""

from typing_extensions import TypedDict

from libs.common.contracts.moments import Told


class Named(TypedDict):
    """A column or a filter, and the type of its values."""

    name: str
    type: str


class ListedDataset(TypedDict):
    """A dataset that can be exported."""

    name: str
    scope: str
    columns: list[Named]
    filters: list[Named]
    since: bool
    names_people: bool


class DatasetList(TypedDict):
    """All datasets, and the formats of files."""

    datasets: list[ListedDataset]
    formats: list[str]


class FileLink(TypedDict):
    """A URL of a file that needs no key."""

    url: str
    expires_at: Told
