"""The commands of the documents, in the order in which a reader comes to them, with the answers they are to give.

Whole lines of comment behind a command are its answer, or a part of it: `…` stands for anything, spaces do not
count, and any day may stand for a day.
"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "README.md",
    "docs/quickstart.md",
    *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md") if page.stem != "quickstart"),
)
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
WITHIN_A_SENTENCE = re.compile(r"`((?:[A-Z_]+=\S* )*(?:make [a-z]|python -m |kubectl |git )[^`]*)`")
ESCAPED_DAY, ANY_DAY = r"20\d\d\\-\d\d\\-\d\d(?!T)", r"20\\d\\d-\\d\\d-\\d\\d"


@dataclass
class Command:
    """What is pasted as a whole, and what the page says of its output."""

    page: str
    line: int
    text: str
    answer: str = ""
    """What it is to print, or a part of that."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def fences(page: str) -> list[tuple[int, str, str]]:
    """The line, the language and the text of each fenced block."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [(text.count("\n", 0, found.start()) + 2, found[1], found[2]) for found in FENCE.finditer(text)]


@cache
def commands(page: str) -> tuple[Command, ...]:
    """The commands of the blocks for a shell."""
    return tuple(
        command
        for line, language, block in fences(page)
        if language == "sh"
        for command in _split(page, line, block)
    )


def commands_in_sentences(page: str) -> list[str]:
    """The commands in sentences and tables, as often as they stand there."""
    text = FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    return [" ".join(found.split()) for found in WITHIN_A_SENTENCE.findall(text)]


def _split(page: str, line: int, block: str) -> Iterator[Command]:
    """Lines belong together as long as a shell would wait for more."""
    command: Command | None = None
    pending: list[str] = []
    for number, text in enumerate(block.splitlines(), line):
        if not pending and text.startswith("# "):
            assert command, f"{page}:{number}: an answer to nothing"
            command.answer += f"{text[2:]}\n"
            continue
        pending.append(text)
        if _is_whole("\n".join(pending)):
            if any(pending):
                command = Command(page, number - len(pending) + 1, "\n".join(pending).strip())
                yield command
            pending = []
    assert not pending, f"{page}:{line}: the block ends within a command"


def _is_whole(text: str) -> bool:
    if text.endswith("\\"):
        return False
    return subprocess.run(["bash", "-n", "-c", text], capture_output=True, check=False).returncode == 0


def fits(answer: str, said: str) -> bool:
    """Whether what was said has the answer in it."""
    parts = (re.escape(part) for part in _squeezed(answer).split("…"))
    return re.search(re.sub(ESCAPED_DAY, ANY_DAY, ".*?".join(parts)), _squeezed(said), re.S) is not None


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)
