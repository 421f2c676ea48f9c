"""A text is matched by the words of it that say most."""

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common.contracts.opportunities import WORDS_MATCHED, Match
from libs.common.db import Database
from services.sync.matching import _any_of, match
from tests.searching import Library, in_days


async def fitting(library: Library, text: str, **asked: object) -> dict[str, list[str]]:
    """The words by which each is found, by key, the best first."""
    answer = await match(library.database, library.tenant, Match.model_validate({"text": text, **asked}))
    assert answer["method"] == "words"
    by_id = {id_: key for key, id_ in library.ids.items()}
    return {by_id.get(one["id"], one["id"]): one["words"] for one in answer["opportunities"]}


async def test_the_rarest_words_decide(library: Library) -> None:
    for n in range(30):
        await library.add(f"common{n}", "Grants for projects of communities")
    await library.add("wells", "Grants for wells", summary="Pumps and wells for villages")
    await library.add("pumps", "Repair of pumps")
    common = " ".join(f"word{n}" for n in range(30))
    for n in range(30):
        await library.add(f"word{n}", f"word{n}")
    found = await fitting(library, "We repair pumps and wells for communities", limit=100)
    assert list(found)[:2] in (["wells", "pumps"], ["pumps", "wells"])
    assert (found["wells"], found["pumps"]) == (["pump", "well"], ["pump", "repair"])
    assert found["common0"] == ["communiti"]
    many = await fitting(library, f"{common} grants", limit=100)
    assert len(many) == WORDS_MATCHED, "and none by the commonest word"


async def test_only_what_is_open_unless_asked(library: Library) -> None:
    await library.add("open", "Wells", closes_at=in_days(1))
    await library.add("closed", "Wells", closes_at=in_days(-1))
    await library.add("soon", "Wells", opens_at=in_days(1))
    assert set(await fitting(library, "wells")) == {"open", "soon"}
    assert set(await fitting(library, "wells", status=["closed"])) == {"closed"}
    assert await fitting(library, "none of these words, nor 'quotes' \\ & | !") == {}


async def test_each_language_by_its_own_words(library: Library) -> None:
    await library.add("de", "Brunnen für Dörfer", language="german", source="brunnen")
    await library.add("en", "Wells for villages")
    assert await fitting(library, "Brunnen im Dorf, a village with a well") == {
        "de": ["brunn", "dorf"], "en": ["villag", "well"],
    }  # fmt: skip


async def test_another_tenant_is_neither_shown_nor_counted(library: Library) -> None:
    others = library.of("another")
    await others.add("theirs", "Wells and secrets")
    await library.add("ours", "Wells")
    assert await fitting(library, "wells and secrets") == {"ours": ["well"]}
    assert await fitting(library.of("third"), "wells") == {}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(
        st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1),
        min_size=1,
        max_size=5,
    )
)
async def test_any_word_can_be_asked_for(database: Database, words: list[str]) -> None:
    words = [word for word in words if len(word.encode()) < 2_000]
    try:
        ((matches,),) = await database.fetch(
            "SELECT array_to_tsvector($1::text[]) @@ $2::text::tsquery", words or ["a"], _any_of(words or ["a"])
        )
    except asyncpg.PostgresError as error:
        pytest.fail(str(error))
    assert matches
