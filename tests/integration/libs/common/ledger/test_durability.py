"""A statement that need not wait for the disk, and those after it on its connection, which do."""

from libs.common import db
from libs.common.config import DatabaseSettings
from libs.common.ledger.durability import LAZILY

SETTING = "current_setting('synchronous_commit')"


async def test_it_holds_for_its_statement_only(database_settings: DatabaseSettings) -> None:
    bounds = database_settings.model_copy(update={"db_max_connections": 1, "db_min_connections": 1})
    async with db.connect(bounds, "test", role=None) as database:
        for _ in range(2):
            assert [row[0] for row in await database.fetch(f"SELECT {SETTING} WHERE {LAZILY}")] == ["off"]
            assert [row[0] for row in await database.fetch(f"SELECT {SETTING}")] == ["on"]


async def test_it_is_true_however_many_rows_there_are(database_settings: DatabaseSettings) -> None:
    async with db.connect(database_settings, "test", role=None) as database:
        rows = await database.fetch(f"SELECT n FROM generate_series(1, 1000) n WHERE {LAZILY}")  # noqa: S608
    assert len(rows) == 1000
