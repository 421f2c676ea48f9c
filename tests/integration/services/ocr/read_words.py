"""What several tests do with what was read."""

from typing import Any

from libs.common.worker.job import Done
from tests.integration.services.ocr.conftest import Reader
from tests.pictures import LINES

TEXT = " ".join(LINES)


def words_of(pages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [w for page in pages for block in page["blocks"] for line in block["lines"] for w in line["words"]]


async def committed(reader: Reader, done: Done) -> None:
    """Write what the handler wants written, as the runtime does."""
    assert done.effects is not None
    async with reader.deps.database.begin() as connection:
        await done.effects(connection)
