"""What a body is as text, and how much of it is told."""

import json

import pytest

from services.sync.reading.answers import About, not_json, text_of, unreadable, utf8_of


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_encodings_are_found(encoding: str) -> None:
    body = "[é€]".encode(encoding)
    assert text_of(body, About("")) == "[é€]"
    assert utf8_of(body, About("")) == "[é€]".encode()


def test_the_encoding_that_a_server_names() -> None:
    assert text_of(b"\xe9", About("", "text/csv; charset=iso-8859-1")) == "é"
    assert text_of("é".encode(), About("", "text/csv; charset=nonsense")) == "é"


def test_little_is_told_of_a_body() -> None:
    told = str(unreadable(b"\x1b[31m\n" + b"x" * 10_000, "No."))
    assert told.startswith("No. It begins: [31m xxx")
    assert len(told) < 250
    assert str(unreadable(b"", "No.")) == "No. It is empty."


def test_where_an_answer_is_no_json_is_told() -> None:
    with pytest.raises(json.JSONDecodeError) as failed:
        json.loads('{"a":\n 1,}')
    assert not_json(failed.value) == "This is not JSON: it cannot be read beyond line 2, column 4."
    assert not_json(RecursionError()) == "This is not JSON, or it is nested too deeply."
