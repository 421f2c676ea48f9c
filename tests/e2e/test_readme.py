"""The README's command, pasted as it stands, reads the example: what a newcomer tries first has to work."""

from pathlib import Path

import pytest

from tests.e2e.pasting import ROOT, blocks, checkout, paste
from tests.pictures import word_f1


@pytest.mark.long
def test_the_block_prints_the_text_of_the_example(tmp_path: Path) -> None:
    (block,) = [block for block in blocks("README.md") if "examples/scan.pdf" in block]
    with checkout(tmp_path) as folder:
        text = paste(folder, block)
    assert word_f1(text, (ROOT / "examples/scan.txt").read_text(encoding="utf-8")) > 0.95
