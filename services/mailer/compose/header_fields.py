"""Fields of a message's header, written so that nothing in a value can end them.

The standard library's EmailMessage decodes encoded words in values that it is given (`=?utf-8?q?=0A?=`) and then
writes the line break it has made; so a value is never parsed here. What is not plain is encoded (RFC 2047).
"""

import base64
import re
from collections.abc import Sequence
from urllib.parse import quote

from libs.common.contracts.mail import Mailbox

_PLAIN = re.compile(r"[\x20-\x7e]*")
_PHRASE = re.compile(r"[A-Za-z0-9 !#$%&'*+/=^_`{|}~-]*")
_ENCODED_CHARACTERS = 11
"""In an encoded word: 44 bytes in UTF-8 at most, 60 in base64, and no more than 75 with what is around them."""
_LINE = 76


def field(name: str, text: str) -> bytes:
    """A field of any text. Raises UnicodeEncodeError for half a character."""
    text = text.strip()  # a line of spaces only could be taken for the end of the header
    return _folded(name, text.split(" ") if _is_plain(text) else _encoded(text))


def addresses(name: str, mailboxes: Sequence[Mailbox]) -> bytes:
    """A field of mailboxes; an address beyond ASCII stands as it is (RFC 6532)."""
    shown = [_shown(mailbox) for mailbox in mailboxes]
    words = [word for mailbox in shown[:-1] for word in (*mailbox[:-1], f"{mailbox[-1]},")] + shown[-1]
    return _folded(name, words)


def parameter(name: str, value: str) -> str:
    """A parameter of a field, such as a file's name (RFC 2231)."""
    if re.fullmatch(r"[A-Za-z0-9._ -]+", value):
        return f'{name}="{value}"'
    return f"{name}*=UTF-8''{quote(value, safe='')}"


def _is_plain(text: str) -> bool:
    return bool(_PLAIN.fullmatch(text)) and "=?" not in text and not any(len(w) > 900 for w in text.split(" "))


def _encoded(text: str) -> list[str]:
    pieces = [text[at : at + _ENCODED_CHARACTERS] for at in range(0, len(text), _ENCODED_CHARACTERS)]
    return [f"=?utf-8?b?{base64.b64encode(piece.encode()).decode()}?=" for piece in pieces]


def _shown(mailbox: Mailbox) -> list[str]:
    if not mailbox.name:
        return [mailbox.address]
    if not _is_plain(mailbox.name):
        name = _encoded(mailbox.name)
    elif _PHRASE.fullmatch(mailbox.name):
        name = mailbox.name.split(" ")
    else:
        quoted = mailbox.name.replace("\\", "\\\\").replace('"', '\\"')
        name = f'"{quoted}"'.split(" ")
    return [*name, f"<{mailbox.address}>"]


def _folded(name: str, words: Sequence[str]) -> bytes:
    """The words with spaces between, lines broken where they get too long."""
    lines, line = [], f"{name}:"
    for word in words:
        if len(line) + 1 + len(word) > _LINE and line.strip() and line != f"{name}:":
            lines.append(line)
            line = ""
        line += f" {word}"
    return "\r\n".join([*lines, line]).encode() + b"\r\n"
