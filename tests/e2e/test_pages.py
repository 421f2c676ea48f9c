"""Every command of README.md and docs/*.md is pasted, page by page, into a checkout in which `make up` has run.

A page needs no other page before it. What is not pasted is in excused.py, with the reason.
"""

import csv
import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from urllib.request import urlopen

import fastexcel
import openpyxl
import pytest
from pyarrow import parquet

from deploy.local.test_servers import free_port
from tests.e2e.excused import EXCUSED, LANGUAGES, OF_THE_MACHINE, SECTIONS, UNTIL_IT_SAYS
from tests.e2e.pages import PAGES, ROOT, Command, commands, commands_in_sentences, fences, fits
from tests.e2e.pasting import Checkout, checkout
from tests.pictures import word_f1

RUN_AT_LEAST = 100
EXPORTS = "docs/exports.md"
PROBLEM = '"doc_url"'


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """One fleet for all pages."""
    with checkout(tmp_path_factory.mktemp("pages")) as made:
        # `make load` of the page takes 75 s.
        yield Checkout(made.folder, made.environment | {"FOR": "5"})


def without_remark(text: str) -> str:
    """`make up   # and why` without the why."""
    return re.sub(r"\s+# .*", "", text)


def excuse(text: str) -> str | None:
    """The row that excuses this command."""
    found = [row for row in EXCUSED if text == row or (row[-1] == "…" and text.startswith(row[:-1]))]
    return max(found, key=len, default=None)


@cache
def lines_elsewhere(page: str) -> frozenset[int]:
    """The lines of sections whose blocks are run elsewhere."""
    section, found = "", set()
    for number, line in enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(), 1):
        section = line.removeprefix("## ") if line.startswith("## ") else section
        if (page, section) in SECTIONS:
            found.add(number)
    return frozenset(found)


def to_paste(page: str) -> list[Command]:
    """The commands of a page's blocks that are run."""
    elsewhere = lines_elsewhere(page)
    return [one for one in commands(page) if one.line not in elsewhere and not excuse(without_remark(one.text))]


def in_sentences() -> list[str]:
    """The commands in sentences and tables that no block has, each once."""
    in_blocks = {without_remark(one.text) for page in PAGES for one in commands(page)}
    found = dict.fromkeys(text for page in PAGES for text in commands_in_sentences(page))
    return [text for text in found if text not in in_blocks]


def as_pasted(text: str, folder: Path) -> str:
    """With folders of this test; and with somebody who presses Ctrl-C where that ends a command."""
    for path in OF_THE_MACHINE:
        text = text.replace(path, str(folder / Path(path).name))
    command = without_remark(text)
    if command in UNTIL_IT_SAYS:
        return shlex.join(["python", "-m", "tests.e2e.ctrl_c", UNTIL_IT_SAYS[command], *shlex.split(command)])
    return text


@pytest.mark.long
@pytest.mark.parametrize("page", [page for page in PAGES if to_paste(page)])
def test_a_page_can_be_pasted(mine: Checkout, page: str) -> None:
    pasted, port = to_paste(page), str(free_port())
    said = mine.paste([as_pasted(one.text, mine.folder.parent).replace("8765", port) for one in pasted])
    for command, words in zip(pasted, said, strict=True):
        assert fits(command.answer, words), f"{command}\nsaid\n{words}\nand not\n{command.answer}"
        assert PROBLEM in command.answer or PROBLEM not in words, f"{command}\nsaid\n{words}"
    if page == "README.md":
        text = (ROOT / "examples/scan.txt").read_text(encoding="utf-8")
        assert word_f1(said[-1], text) > 0.95


@pytest.mark.long
def test_commands_in_sentences_can_be_pasted(mine: Checkout) -> None:
    left = [as_pasted(text, mine.folder.parent) for text in in_sentences() if not excuse(text)]
    mine.paste([*left, "make up"])


@pytest.mark.long
@pytest.mark.parametrize("format_", ["csv", "jsonl", "xlsx", "parquet"])
def test_the_export_of_the_page_is_read_by_others_in_every_format(mine: Checkout, format_: str) -> None:
    pasted = [one.text for one in to_paste(EXPORTS) if "also" not in one.text and "letter" not in one.text]
    *_, link = mine.paste(
        [text.replace('"csv"', f'"{format_}"').replace("jobs.csv", f"jobs.{format_}") for text in pasted]
    )
    path = mine.folder / f"jobs.{format_}"
    with urlopen(mine.values()["ARGOSY_URL"] + json.loads(link)["url"]) as answer:
        assert answer.read() == path.read_bytes()
    rows = rows_as_others_read_them(path)
    assert "exporter" in {row["queue"] for row in rows}, "the export itself"
    assert all(re.fullmatch(r"job_[0-9a-f]{32}", row["id"]) for row in rows)


def rows_as_others_read_them(path: Path) -> list[dict[str, str]]:
    """With readers that are not ours."""
    match path.suffix:
        case ".csv":
            return list(csv.DictReader(path.read_text().splitlines(keepends=True)))
        case ".jsonl":
            return [json.loads(line) for line in path.read_text().splitlines()]
        case ".xlsx":
            rows = fastexcel.read_excel(path).load_sheet(0, dtypes="string").to_arrow().to_pylist()
            sheet = openpyxl.load_workbook(BytesIO(path.read_bytes())).worksheets[0]
            assert sheet.max_row == len(rows) + 1
            return list(rows)
        case _:
            return list(parquet.read_table(path).to_pylist())


def test_every_command_is_pasted_or_excused() -> None:
    in_blocks = [one for page in PAGES for one in commands(page)]
    pasted = [one for page in PAGES for one in to_paste(page)]
    elsewhere = [one for one in in_blocks if one.line in lines_elsewhere(one.page)]
    beside = in_sentences()
    too = [text for text in beside if not excuse(text)]
    left = len(in_blocks) - len(pasted) - len(elsewhere)
    print(
        f"{len(PAGES)} pages, {len({one.page for one in in_blocks})} of them with commands. "
        f"In blocks: {len(pasted)} pasted, "
        f"{len(elsewhere)} run by another test, {left} excused; beside them: {len(too)} pasted, "
        f"{len(beside) - len(too)} excused."
    )
    assert len(pasted) + len(too) >= RUN_AT_LEAST


def test_no_row_of_the_tables_is_stale() -> None:
    texts = [without_remark(one.text) for page in PAGES for one in commands(page)] + in_sentences()
    assert {excuse(text) for text in texts} - {None} == set(EXCUSED)
    assert set(UNTIL_IT_SAYS) <= set(texts)
    assert [path for path in OF_THE_MACHINE if not any(path in text for text in texts)] == []
    assert [place for place in SECTIONS if not lines_elsewhere(place[0])] == []
    assert {language for page in PAGES for _, language, _ in fences(page)} == {"sh", *LANGUAGES}


def test_every_command_of_make_is_there() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.M))
    texts = [one.text for page in PAGES for one in commands(page)]
    texts += [text for page in PAGES for text in commands_in_sentences(page)]
    named = {found for text in texts for found in re.findall(r"\bmake ([a-z-]+)", text)}
    assert named
    assert named - targets == set()
