"""NUL, the one character that PostgreSQL's text and jsonb cannot store, is refused wherever a caller can send it.

Header fields cannot have it (HTTP does not allow it), nor can JSON but as an escape. Half characters (lone
surrogates) need no check here: UTF-8 and the JSON parser refuse them.
"""

import re

from starlette.types import Scope

_ESCAPED = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def nul_in_url(scope: Scope) -> bool:
    """Whether a request's path or query has a NUL."""
    return "\x00" in scope["path"] or b"%00" in scope["query_string"]


def nul_in_json(text: bytes) -> bool:
    """Whether a string in `text`, which is JSON, has a NUL. A backslash before `u0000` may be an escaped one."""
    return b"\\u0000" in text and _ESCAPED.search(text) is not None
