"""The commands of docs/analytics.md, pasted as they stand: events are sent, counted, asked about and erased."""

import json
import re
from pathlib import Path

import pytest

from tests.e2e.pasting import blocks, checkout, paste


@pytest.mark.long
def test_the_page_of_analytics_can_be_pasted(tmp_path: Path) -> None:
    with checkout(tmp_path) as folder:
        said = paste(folder, "".join(blocks("docs/analytics.md")))
    (counted,) = re.findall(r'"result":({[^}]*"counted"[^}]*{}[^}]*})', said)
    assert json.loads(counted).items() >= {"counted": 4, "duplicates": 0, "rejected": 0}.items()
    assert re.search(r'"value":"/help","points":\[\["[-0-9]+",1\]\]', said)
    assert re.search(r'"value":null,"points":\[\["[-0-9]+",2\]\]', said), "two people"
    assert '"result":{"steps":[2,2],"entered":2}' in said
    assert '"erased":2' in said
    assert re.search(r'"key":"argosy_dev_\w+"', said)
    assert "urn:argosy:problem" not in said
