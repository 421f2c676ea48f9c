"""The commands of docs/sync.md, pasted as they stand: rows, facets, history, and a reminder that moves."""

import json
from ast import literal_eval
from pathlib import Path
from typing import Any

import pytest

from deploy.local.test_servers import free_port
from tests.e2e.pasting import blocks, checkout, paste
from tests.polling import until

UP = "SYNC_ALLOWED_NETWORKS=127.0.0.0/8 make up\n"
WELLS = '. .run/dev.env\ncurl -sS -H "Authorization: Bearer $ARGOSY_KEY" "$ARGOSY_URL/v1/deadlines/wells"'


@pytest.mark.long
async def test_the_page_of_sync_can_be_pasted(tmp_path: Path) -> None:
    page = "".join(blocks("docs/sync.md"))
    assert UP in page
    # What is of this machine and not of the page: its fleet is up already, its port and its folder are free.
    page = page.replace(UP, "").replace("8765", str(free_port()))
    page = page.replace("/tmp/argosy-sources", str(tmp_path / "sources"))  # noqa: S108
    with checkout(tmp_path, SYNC_ALLOWED_NETWORKS="127.0.0.0/8") as folder:
        said = paste(folder, page)

        async def has_moved() -> dict[str, Any] | None:
            found: dict[str, Any] = json.loads(paste(folder, WELLS))
            return found if found["due_at"] == "2031-03-09T04:59:59Z" else None

        moved = await until(has_moved)
    assert moved is not None
    assert [one["to"] for one in moved["followers"]] == ["ada@example.com"]
    assert "urn:argosy:problem" not in said
    assert [literal_eval(line) for line in said.splitlines() if line.startswith("{'")] == [
        {"pages": 2, "records": 3, "inserted": 3},
        {"pages": 1, "records": 1, "inserted": 1},
        {"pages": 1, "records": 1, "inserted": 1},
        {"pages": 2, "records": 2, "updated": 1, "unchanged": 1, "gone": 1},
    ]
    answers = [json.loads(line) for line in said.splitlines() if line.startswith('{"')]
    (found,) = [one for one in answers if one.get("facets")]
    assert sum(found["facets"]["status"].values()) == len(found["opportunities"]) == 2
    (put,) = [one for one in answers if one.get("followers")][:1]
    assert put["due_at"] == "2031-03-02T04:59:59Z"
    feed, history = [one["changes"] for one in answers if "changes" in one]
    assert [change["what"] for change in feed][-2:] == ["updated", "gone"]
    assert history[-1]["fields"]["closes_on"] == ["2031-03-01", "2031-03-08"]
