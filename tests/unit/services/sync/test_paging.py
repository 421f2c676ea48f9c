"""The six kinds of paging, each walked to its end, and the loops."""

from collections.abc import Iterator
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.sync import PAGES_AT_MOST, SourceSpec
from services.sync.page import Position
from services.sync.paging import EMPTY_PAGES_AT_MOST, PageFacts, next_link, next_position, request_of, since
from services.sync.refusals import AddressRefused, PagingLoops, TooLarge, UnreadableBody

URL = "https://example.org/grants?kind=a%20b"
OFFSET = {"kind": "offset", "in": "query", "parameter": "offset", "size": ["limit", 10]}
NUMBER = {"kind": "page", "parameter": "page", "size": ["per_page", 10]}
errors: list[Exception] = []
CURSOR = {"kind": "cursor", "parameter": "after", "cursor": "next"}


def spec(paging: dict[str, Any] | None = None, **more: Any) -> SourceSpec:
    return SourceSpec.model_validate({"url": URL, "format": "json", "paging": paging or {"kind": "none"}} | more)


def facts(records: int, told: Any = None, **headers: str) -> PageFacts:
    return PageFacts(URL, records, f"{records}-{told}", told, headers)


def queries(paging: dict[str, Any], pages: list[PageFacts]) -> list[dict[str, list[str]]]:
    """What is asked, page by page, until there is no next one."""
    source, position, asked = spec(paging), Position(), []
    for page in pages:
        asked.append(parse_qs(urlsplit(request_of(source, {}, position, None).url).query))
        following = next_position(source.paging, position, page)
        if following is None:
            assert page is pages[-1]
            return asked
        position = orjson.loads(orjson.dumps(following))
    raise AssertionError("there is a next page")


def test_without_paging_the_address_stays_as_it_is() -> None:
    assert request_of(spec(), {"A": "b"}, {}, None).url == URL
    assert next_position(spec().paging, {}, facts(1_000, "more")) is None


def test_offset_ends_with_a_page_that_is_not_full() -> None:
    asked = queries(OFFSET, [facts(10), facts(12), facts(9)])
    assert [query["offset"] for query in asked] == [["0"], ["10"], ["22"]]
    assert [query["limit"] for query in asked] == [["10"]] * 3
    assert [query["kind"] for query in asked] == [["a b"]] * 3


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_begin_where_they_are_said_to(first: int) -> None:
    asked = queries(NUMBER | {"first": first}, [facts(10, 1), facts(10, 2), facts(0)])
    assert [query["page"] for query in asked] == [[str(first + number)] for number in range(3)]


@pytest.mark.parametrize("end", [None, "", False])
def test_a_cursor_leads_on_until_there_is_none(end: Any) -> None:
    asked = queries(CURSOR, [facts(3, "x&y"), facts(0, 17), facts(3, end)])
    assert [query.get("after") for query in asked] == [None, ["x&y"], ["17"]]


@pytest.mark.parametrize("bad", [["a"], {"a": 1}, True])
def test_a_cursor_that_is_none(bad: Any) -> None:
    with pytest.raises(UnreadableBody):
        next_position(spec(CURSOR).paging, {}, facts(1, bad))


def test_a_cursor_that_is_too_long() -> None:
    with pytest.raises(TooLarge):
        next_position(spec(CURSOR).paging, {}, facts(1, "x" * 5_000))


@pytest.mark.parametrize(
    ("paging", "page"),
    [
        ({"kind": "json_link", "link": "links.next"}, facts(2, "/more?page=2#x")),
        (
            {"kind": "link_header"},
            facts(2, link='</a>; rel=prev, </more?page=2#x>; title="a, b"; rel="last next"'),
        ),
    ],
)
def test_links_are_followed(paging: dict[str, Any], page: PageFacts) -> None:
    position = next_position(spec(paging).paging, {}, page)
    assert position is not None
    assert request_of(spec(paging), {}, position, "2026-01-01").url == "https://example.org/more?page=2#x"
    assert next_position(spec(paging).paging, position, facts(2)) is None


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "file:///etc/passwd", "//user@example.org/", "http://[::1"]
)
def test_links_that_are_no_pages(link: str) -> None:
    with pytest.raises((AddressRefused, UnreadableBody)):
        next_position(spec({"kind": "json_link", "link": "a"}).paging, {}, facts(2, link))


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ('<https://a.test/?a=1,2>; rel="next"', "https://a.test/?a=1,2"),
        ("<b>; rel=next", "b"),
        ("<b>;rel=NEXT; x=y", "b"),
        ('<a>; rel="prev", <b>; rel="next"', "b"),
        ('<a>; rel="nextish"', None),
        ('<a>; title="rel=next"', None),
        ("a; rel=next", None),
        ("", None),
    ],
)
def test_the_header_link(header: str, target: str | None) -> None:
    assert next_link(header) == target


def test_parameters_can_go_into_the_body() -> None:
    source = spec(OFFSET | {"in": "body"}, method="POST", body={"keyword": "water", "offset": 3})
    request = request_of(source, {}, {"at": 20, "page": 3}, None)
    assert (request.url, request.method) == (URL, "POST")
    assert orjson.loads(request.body or b"") == {"keyword": "water", "offset": 20, "limit": 10}
    assert source.body == {"keyword": "water", "offset": 3}


def test_only_what_has_changed_is_asked_for() -> None:
    source = spec(CURSOR, incremental={"parameter": "since", "field": "changed", "overlap_s": 60})
    asked = parse_qs(urlsplit(request_of(source, {}, {}, "2026-03-01T00:00:30Z").url).query)
    assert asked["since"] == ["2026-02-28T23:59:30Z"]
    assert "since" not in request_of(source, {}, {}, None).url


@pytest.mark.parametrize(
    ("bookmark", "overlap_s", "expected"),
    [
        ("2026-03-01T10:00:00Z", 300, "2026-03-01T09:55:00Z"),
        ("2026-03-01T10:00:00+02:00", 300, "2026-03-01T09:55:00+02:00"),
        ("2026-03-01 10:00:00", 300, "2026-03-01 09:55:00"),
        ("2026-03-01", 300, "2026-02-28"),
        ("2026-03-01", 0, "2026-03-01"),
        ("1772359200", 300, "1772358900"),
        ("1772359200000", 300, "1772358900000"),
        ("rev-17", 300, "rev-17"),
        ("0001-01-01", 300, "0001-01-01"),
    ],
)
def test_the_overlap(bookmark: str, overlap_s: int, expected: str) -> None:
    assert since(bookmark, overlap_s) == expected


def walk(pages: Iterator[PageFacts]) -> int:
    """Go on until there is an error. Returns how many pages there were; the error is the last of `errors`."""
    paging, position = spec(CURSOR).paging, Position()
    for number, page in enumerate(pages, 1):
        try:
            following = next_position(paging, position, page)
        except (PagingLoops, TooLarge) as error:
            errors.append(error)
            return number
        assert following is not None
        assert len(orjson.dumps(following)) < 300
        position = following
    raise AssertionError("no error")


@given(length=st.integers(1, 40), before=st.integers(0, 40))
def test_every_loop_is_found_soon(length: int, before: int) -> None:
    """Pages that lead back to one before them, however many lie between."""
    numbers = (page if page < before else before + (page - before) % length for page in count())
    assert walk(facts(1, f"cursor {number}") for number in numbers) <= 3 * (length + before) + 3
    assert isinstance(errors[-1], PagingLoops)


@pytest.mark.parametrize("paging", [OFFSET, NUMBER])
def test_a_source_that_ignores_where_to_begin(paging: dict[str, Any]) -> None:
    position = next_position(spec(paging).paging, {}, facts(10))
    assert position is not None
    with pytest.raises(PagingLoops, match="Page 2 of the source is the same as page 1"):
        next_position(spec(paging).paging, position, facts(10))


def test_pages_without_end() -> None:
    assert walk(facts(1, number) for number in count(1)) == PAGES_AT_MOST
    assert isinstance(errors[-1], TooLarge)
    assert walk(facts(0, number) for number in count(1)) == EMPTY_PAGES_AT_MOST + 1
    assert isinstance(errors[-1], PagingLoops)
