"""What is wrong with a source is told by the field."""

from typing import Any

import pytest

from libs.common.contracts.sync import SourceSpec
from services.sync.spec_checks import mistakes
from tests.syncing import MAPPING, spec_of


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"url": "ftp://example.org"}, "url"),
        ({"url": "https://user:pass@example.org"}, "url"),
        ({"language": "klingon"}, "language"),
        ({"mapping": MAPPING | {"summary": "a..b"}}, "mapping.summary"),
        ({"mapping": MAPPING | {"extra": {"kind": "["}}}, "mapping.extra.kind"),
        ({"mapping": {"title": "title"}}, "mapping.key"),
        ({"paging": {"kind": "cursor", "parameter": "after", "cursor": "next["}}, "paging.cursor"),
        ({"paging": {"kind": "json_link", "link": "("}}, "paging.link"),
        ({"incremental": {"parameter": "since", "field": "a b"}}, "incremental.field"),
        ({"body": {"rows": 10}}, "body"),
    ],
)
def test_each_mistake_is_named(given: dict[str, Any], field: str) -> None:
    spec = SourceSpec.model_validate(spec_of(**given))
    assert [one["field"] for one in mistakes(spec, frozenset({"english"}))] == [f"body.{field}"]


def test_a_source_without_mistakes() -> None:
    spec = SourceSpec.model_validate(spec_of())
    assert mistakes(spec, frozenset({"english"})) == []


def test_feeds_need_no_mapping() -> None:
    spec = SourceSpec.model_validate({"url": "https://example.org/feed", "format": "feed"})
    assert mistakes(spec, frozenset({"simple"})) == []
