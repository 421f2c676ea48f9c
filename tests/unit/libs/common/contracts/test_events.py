"""News of jobs on the wire: what goes in comes out, and a stranger's message is refused."""

from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.contracts.events import (
    Event,
    cancel_subject,
    decode_events,
    decode_stops,
    encode_cancels,
    encode_events,
    encode_preemptions,
    events_subject,
)

PROGRESS = st.none() | st.dictionaries(
    st.text(st.characters(codec="utf-8")), st.none() | st.integers(-(2**53), 2**53) | st.booleans(), max_size=3
)
EVENTS = st.tuples(st.uuids().map(lambda id_: id_.hex), st.none() | st.sampled_from(["running"]), PROGRESS)


@settings(max_examples=30)
@given(st.lists(EVENTS, max_size=4))
def test_events_come_back_as_they_were_and_in_order(events: list[tuple[str, str | None, Any]]) -> None:
    assert decode_events(encode_events(events)) == [Event(*event) for event in events]


@settings(max_examples=30)
@given(st.lists(st.uuids(), max_size=4))
def test_cancels_come_back_as_they_were_and_in_order(ids: list[UUID]) -> None:
    assert decode_stops(encode_cancels(ids)) == [(job_id, None) for job_id in ids]


@settings(max_examples=30)
@given(st.lists(st.tuples(st.uuids(), st.integers(1, 2**31 - 1)), max_size=4))
def test_preemptions_name_the_attempt(attempts: list[tuple[UUID, int]]) -> None:
    assert decode_stops(encode_preemptions(attempts)) == attempts


def test_a_worker_that_knows_only_cancels_takes_a_preemption_for_none() -> None:
    """As one of the version before reads it: `UUID(hex=item)` of each item. It skips what raises these."""
    for item in orjson.loads(encode_preemptions([(uuid4(), 1)])):
        with pytest.raises((AttributeError, TypeError, ValueError)):
            UUID(hex=item)


STRANGE = [b"", b"{", b"\xff", b"[", b"1", b"[1]", b"[[]]", b"[null]", b'["\xc3"]']


@pytest.mark.parametrize("message", [*STRANGE, b'["ab"]', b'[["id", null]]'])
def test_what_tells_no_events_is_a_value_error(message: bytes) -> None:
    """The error that a listener takes for a stranger's message (bus.py)."""
    with pytest.raises(ValueError, match=r"."):
        decode_events(message)


@pytest.mark.parametrize(
    "message", [*STRANGE, b'["ab"]', b'[{"id": 1}]', b'[["ab", 1]]', b'[["%s", null]]' % (b"0" * 32)]
)
def test_what_names_no_jobs_to_stop_is_a_value_error(message: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_stops(message)


def test_each_queue_has_subjects_of_its_own_and_there_is_one_for_all() -> None:
    assert len({events_subject("a"), events_subject("b"), cancel_subject("a"), cancel_subject("b")}) == 4
    assert events_subject("*") == "events.*"
