"""Ids as callers see them."""

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
