"""A token names its recipient, survives the loss of its case, and cannot be made up."""

import string
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mailer.recipient_tokens import RETURN_PREFIX, RecipientTokens
from services.mailer.refusals import TokenInvalid

TOKENS = RecipientTokens("a secret of thirty-two letters or more")
LETTER = UUID(int=0x0123456789ABCDEF0123456789ABCDEF)


@given(letter=st.uuids(), number=st.integers(0, 2**32 - 1))
def test_a_token_names_its_recipient_whatever_its_case(letter: UUID, number: int) -> None:
    token = TOKENS.make(letter, number)
    assert TOKENS.read(token) == TOKENS.read(token.upper()) == (letter, number)


@given(letter=st.uuids(), number=st.integers(0, 2**32 - 1))
def test_a_return_path_fits_into_an_address(letter: UUID, number: int) -> None:
    token = TOKENS.make(letter, number)
    assert len(token) == 48
    assert set(token) <= set(string.ascii_lowercase + string.digits)
    assert len(RETURN_PREFIX + token) <= 64, "RFC 5321, 4.5.3.1.1"


@given(position=st.integers(0, 47), replacement=st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_a_token_with_another_letter_is_none(position: int, replacement: str) -> None:
    token = TOKENS.make(LETTER, 7)
    forged = token[:position] + replacement + token[position + 1 :]
    if forged != token:
        with pytest.raises(TokenInvalid):
            TOKENS.read(forged)


@given(st.text(max_size=60))
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(TokenInvalid):
        TOKENS.read(text)


def test_a_token_made_with_another_secret_is_refused() -> None:
    with pytest.raises(TokenInvalid):
        TOKENS.read(RecipientTokens("another secret of thirty-two letters").make(LETTER, 7))
