"""Searches find what they say, page by page, of their tenant only; and PostgreSQL uses the indexes for them."""

import itertools
import random
from typing import Any

import pytest

from libs.common.contracts.opportunities import ALL_FIELDS, SHOWN, OpportunityFilter, Search
from libs.common.db import fetch_within
from services.sync import searching
from services.sync.refusals import CursorInvalid, SearchTooSlow
from tests.searching import CURSORS, Library, in_days

FILTERS: dict[str, Any] = {
    "q": "dredging",
    "status": ["open", "closed", "forecasted", "gone"],
    "source": ["harbour"],
    "agency": ["Port, of Argos"],
    "closes_before": in_days(100),
    "closes_after": in_days(-100),
    "amount_min": 1,
    "changed_after": in_days(-1),
}
"""Each filter, with a value that everything here passes."""


async def filled(library: Library, number: int = 12, *, all_close: bool = False) -> None:
    for n in range(number):
        await library.add(
            f"{library.tenant}{n}",
            f"Dredging of basin {n}",
            agency="Port, of Argos",
            closes_at=None if n % 4 == 3 and not all_close else in_days(n % 3 + 1),
            amount_max=1_000 * (n + 1),
            currency="EUR",
        )


async def test_words_are_found_as_a_search_engine_would(library: Library) -> None:
    await library.add("a", "Rural water loans", summary="For villages")
    await library.add("b", "Water for rural towns", summary="grants")
    await library.add("c", "Rural water grants")
    await library.add("d", "Die Straße nach Süden", language="german", source="strassen")
    assert set(await library.keys(q='"rural water"')) == {"a", "c"}
    assert await library.keys(q='"rural water" -loan') == ["c"]
    assert await library.keys(q="village") == ["a"]
    assert set(await library.keys(q="village OR town")) == {"a", "b"}
    assert await library.keys(q="Straßen") == ["d"]
    assert await library.keys(q="nothing like it") == []
    assert len(await library.keys(q="  ")) == 4


async def test_without_a_source_nothing_is_found(library: Library) -> None:
    for order in ("closes", "newest", "relevance"):
        answer = await library.search(q="water", order=order, facets=["status"])
        assert answer == {"opportunities": [], "next_cursor": None, "facets": {"status": {}}, "exact": True}


async def test_each_filter(library: Library) -> None:
    await library.add("open", closes_at=in_days(5), agency="A", amount_min=10, amount_max=50)
    await library.add("closed", closes_at=in_days(-5), agency="B", amount_min=70)
    await library.add("soon", opens_at=in_days(2), closes_at=in_days(9), source="other")
    await library.add("gone", gone_at=in_days(-1), closes_at=in_days(7))
    await library.add("said", status_said="Closed")
    assert await library.keys() == ["closed", "open", "soon", "said"]
    assert await library.keys(status=["open"]) == ["open"]
    assert await library.keys(status=["forecasted", "gone"]) == ["gone", "soon"]
    assert await library.keys(status=["closed"]) == ["closed", "said"]
    assert await library.keys(source=["other"]) == ["soon"]
    assert await library.keys(source=["unheard-of"]) == []
    assert await library.keys(agency=["A", "B"]) == ["closed", "open"]
    assert await library.keys(closes_before=in_days(6), closes_after=in_days(-1)) == ["open"]
    assert await library.keys(amount_min=50) == ["closed", "open"]
    assert await library.keys(amount_min=60) == ["closed"]
    assert await library.keys(changed_after=in_days(1)) == []


@pytest.mark.parametrize("order", ["closes", "newest", "relevance"])
@pytest.mark.parametrize("limit", [1, 5, 12, 100])
async def test_pages_together_are_the_whole_each_once(library: Library, order: str, limit: int) -> None:
    await filled(library)
    words = {"q": "dredging"} if order == "relevance" else {}
    whole = await library.keys(order=order, **words)
    assert len(whole) == len(set(whole)) == 12
    assert await library.keys(order=order, limit=limit, **words) == whole
    if order == "newest":
        assert whole == [f"acme{n}" for n in reversed(range(12))]
    if order == "closes":
        closes = {f"acme{n}": 9 if n % 4 == 3 else n % 3 for n in range(12)}
        assert [closes[key] for key in whole] == sorted(closes.values())


async def test_the_best_fit_comes_first(library: Library) -> None:
    await library.add("once", "Tides", summary="A study of water")
    await library.add("title", "Water", summary="water and more water")
    assert await library.keys(q="water", order="relevance") == ["title", "once"]


async def test_facets_count_what_is_found(library: Library) -> None:
    await filled(library, 5)
    await library.add("other", "Dredging", agency="Guild", source="other", closes_at=in_days(-1))
    await library.add("none", "Sails", closes_at=in_days(1))
    answer = await library.search(q="dredging", facets=["status", "source", "agency"], limit=1)
    assert answer["facets"] == {
        "status": {"open": 5, "closed": 1},
        "source": {"harbour": 5, "other": 1},
        "agency": {"Port, of Argos": 5, "Guild": 1},
    }
    assert answer["exact"]
    assert (await library.search(facets=["agency"]))["facets"] == {"agency": {"Port, of Argos": 5, "Guild": 1}}


async def test_beyond_what_is_counted_an_answer_says_so(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "COUNTED_AT_MOST", 4)
    await filled(library, 5)
    counted = await library.search(facets=["status"])
    assert (counted["exact"], counted["facets"], len(counted["opportunities"])) == (
        False,
        {"status": {"open": 4}},
        5,
    )
    ranked = await library.search(q="dredging", order="relevance")
    assert not ranked["exact"]
    assert (await library.search(q="dredging"))["exact"]


async def test_fields_are_those_asked_for(library: Library) -> None:
    await library.add("a", summary="x" * 400, amount_min=1.5, currency="EUR", closes_on="2031-02-03")
    (shown,) = (await library.search())["opportunities"]
    assert set(shown) == {"id", *SHOWN}
    assert shown["summary"] == "x" * 300
    assert shown["amount"] == {"min": 1.5, "max": None, "currency": "EUR"}
    assert (shown["source"], shown["closes_on"]) == ("harbour", "2031-02-03")
    (chosen,) = (await library.search(fields=["summary", "created_at"]))["opportunities"]
    assert set(chosen) == {"id", "summary", "created_at"}
    assert chosen["summary"] == "x" * 400
    (whole,) = (await library.search(fields=list(ALL_FIELDS)))["opportunities"]
    assert set(whole) == {"id", *ALL_FIELDS}


async def test_a_long_answer_is_cut_and_goes_on(library: Library) -> None:
    for n in range(60):
        await library.add(str(n), f"Number {n}", summary="x" * 19_000, closes_at=in_days(n))
    page = await library.search(fields=["summary"], limit=100)
    assert 20 < len(page["opportunities"]) < 60
    assert await library.keys(fields=["summary"], limit=100) == [str(n) for n in range(60)]


async def test_a_cursor_is_of_one_search_of_one_tenant(library: Library) -> None:
    await filled(library)
    page = await library.search(limit=2, status=["open"])
    cursor = page["next_cursor"]
    assert (await library.search(limit=5, status=["open"], fields=["title"], cursor=cursor))["opportunities"]
    wrong: list[dict[str, Any]] = [
        {"status": ["closed"]}, {"status": ["open"], "order": "newest"}, {"status": ["open"], "q": "basin"}, {},
    ]  # fmt: skip
    for asked in wrong:
        with pytest.raises(CursorInvalid):
            await library.search(**asked, cursor=cursor)
    with pytest.raises(CursorInvalid):
        await library.of("another").search(status=["open"], cursor=cursor)
    for altered in (cursor[:-2], cursor[2:], "AAAA" + cursor[4:], "é", "A", ""):
        with pytest.raises(CursorInvalid):
            await library.search(status=["open"], cursor=altered)


async def test_another_tenant_is_never_shown_whatever_the_filter(library: Library) -> None:
    await filled(library, all_close=True)
    await filled(library.of("another"), all_close=True)
    for size, order in itertools.product(range(len(FILTERS) + 1), ("closes", "newest", "relevance")):
        for names in itertools.combinations(FILTERS, size):
            asked = {name: FILTERS[name] for name in names}
            if order == "relevance" and "q" not in asked:
                continue
            answer = await library.search(**asked, order=order, limit=100, facets=["source"])
            assert {one["id"] for one in answer["opportunities"]} == set(library.ids.values())
            assert answer["facets"] == {"source": {"harbour": 12}}


@pytest.mark.parametrize("order", ["closes", "newest", "relevance"])
async def test_not_even_if_the_finding_query_is_wrong(
    library: Library, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = library.of("another")
    await filled(library, 6)
    await others.add("theirs", "Dredging", agency="Secret", source="secret", closes_at=in_days(0.5))
    await filled(others, 6)
    right = searching.filtered

    def forgetful(tenant: str, asked: OpportunityFilter, queries: Any) -> searching.Conditions:
        made = right(tenant, asked, queries)
        made.add(f"true OR {made.bind(tenant)}::text IS NULL")
        made._all[0] = "$1::text IS NOT NULL"
        return made

    monkeypatch.setattr(searching, "filtered", forgetful)
    asked = Search.model_validate({"order": order, "q": "dredging"})
    async with searching.carefully(library.database) as connection:
        found = await searching.find(connection, "acme", asked, {"english": "dredg"}, None)
    assert len(found.ids) == 13, "the query is wrong indeed"
    answer = await library.search(q="dredging", order=order, facets=["agency", "source"])
    assert {one["id"] for one in answer["opportunities"]} == set(library.ids.values())
    assert answer["facets"] == {"agency": {"Port, of Argos": 6}, "source": {"harbour": 6}}


async def test_what_takes_too_long_is_given_up(library: Library) -> None:
    await library.add("a")
    with pytest.raises(SearchTooSlow):
        await _sleep(library)
    async with searching.carefully(library.database) as connection:
        ((timeout, plans),) = await fetch_within(
            connection, "SELECT current_setting('statement_timeout'), current_setting('plan_cache_mode')"
        )
    assert (timeout, plans) == ("2s", "force_custom_plan")
    assert await library.keys() == ["a"]  # the connection is as good as before


async def _sleep(library: Library) -> None:
    async with searching.carefully(library.database) as connection:
        await fetch_within(connection, "SET LOCAL statement_timeout = 50")
        await fetch_within(connection, "SELECT pg_sleep(60)")


async def test_random_searches_find_what_brute_force_finds(library: Library) -> None:
    chance = random.Random(4)  # noqa: S311 - a test's
    words = ("water", "harbour", "bridge", "sail", "rope")
    made: dict[str, tuple[set[str], str | None]] = {}
    for n in range(60):
        has, agency = set(chance.sample(words, chance.randrange(1, 4))), chance.choice(("A", "B", None))
        made[str(n)] = has, agency
        await library.add(str(n), " ".join(sorted(has)), agency=agency, closes_at=in_days(chance.uniform(-5, 5)))
    for _ in range(40):
        one, other = chance.sample(words, 2)
        agency = chance.choice(("A", "B"))
        order = chance.choice(("closes", "newest", "relevance"))
        found = await library.keys(q=f"{one} -{other}", agency=[agency], order=order, limit=chance.randrange(1, 9))
        wanted = {key for key, (has, of) in made.items() if one in has and other not in has and of == agency}
        assert (set(found), len(found)) == (wanted, len(wanted))


def test_cursors_say_nothing_they_were_not_given() -> None:
    assert CURSORS.read(b"q", CURSORS.issue(b"q", ["1", "é"])) == ["1", "é"]
