"""Writes header fields so that no value can end its field (header injection).

The standard library's EmailMessage decodes encoded words in the values it is given (`=?utf-8?q?=0A?=`), and then
writes the line break that results. So this module never parses a value. It encodes every value that is not plain
ASCII (RFC 2047).
"""

import base64
import re
from collections.abc import Sequence
from urllib.parse import quote

from libs.common.contracts.mail import Mailbox

_PLAIN = re.compile(r"[\x20-\x7e]*")
_PHRASE = re.compile(r"[A-Za-z0-9 !#$%&'*+/=^_`{|}~-]*")
_ENCODED_CHARACTERS = 11
"""Characters per encoded word: at most 44 bytes in UTF-8, 60 in base64, and 75 with the delimiters."""
LINE_AT_MOST = 76


def field(name: str, text: str) -> bytes:
    """Return a field with any text as value. Raises UnicodeEncodeError for a lone surrogate."""
    text = text.strip()  # a line of only spaces could be taken for the end of the header
    return _folded(name, text.split(" ") if _is_plain(text) else _encoded(text))


def addresses(name: str, mailboxes: Sequence[Mailbox]) -> bytes:
    """Return a field with a list of mailboxes. Addresses that are not ASCII are left as UTF-8 (RFC 6532)."""
    shown = [_mailbox_words(mailbox) for mailbox in mailboxes]
    words = [word for mailbox in shown[:-1] for word in (*mailbox[:-1], f"{mailbox[-1]},")] + shown[-1]
    return _folded(name, words)


def parameter(name: str, value: str) -> str:
    """Return a parameter of a field, such as a filename, encoded if necessary (RFC 2231)."""
    if re.fullmatch(r"[A-Za-z0-9._ -]+", value):
        return f'{name}="{value}"'
    return f"{name}*=UTF-8''{quote(value, safe='')}"


def _is_plain(text: str) -> bool:
    return bool(_PLAIN.fullmatch(text)) and "=?" not in text and not any(len(w) > 900 for w in text.split(" "))


def _encoded(text: str) -> list[str]:
    pieces = [text[at : at + _ENCODED_CHARACTERS] for at in range(0, len(text), _ENCODED_CHARACTERS)]
    return [f"=?utf-8?b?{base64.b64encode(piece.encode()).decode()}?=" for piece in pieces]


def _mailbox_words(mailbox: Mailbox) -> list[str]:
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
    """Join the words with spaces, and fold lines that would be longer than LINE_AT_MOST characters."""
    lines, line = [], f"{name}:"
    for word in words:
        if len(line) + 1 + len(word) > LINE_AT_MOST and line.strip() and line != f"{name}:":
            lines.append(line)
            line = ""
        line += f" {word}"
    return "\r\n".join([*lines, line]).encode() + b"\r\n"
