"""Ids as callers see them."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.ids import parse_id, public_id
from libs.common.ledger.jobs import new_id


def test_an_id_survives_the_way_out_and_back() -> None:
    job_id = new_id()
    assert parse_id(public_id(job_id)) == job_id


@given(st.text())
def test_no_text_breaks_parse_id(text: str) -> None:
    parsed = parse_id(text)
    assert parsed is None or public_id(parsed) == text


@given(st.uuids(), st.sampled_from(["job", "schedule", "replay"]))
def test_an_id_names_what_it_is_of(id_: UUID, what: str) -> None:
    text = public_id(id_, what)
    assert parse_id(text, what) == id_
    assert parse_id(text, "page") is None
    assert parse_id(text.upper(), what) is None, "one id has one form"


def test_digits_alone_or_of_another_script_are_no_id() -> None:
    digits = "0198" * 8
    assert parse_id(f"job_{digits}") is not None
    for text in (digits, f"job_{digits}0", f"job_{digits[1:]}", f"job_{digits[1:]}٣", f"job_job_{digits}"):
        assert parse_id(text) is None
