"""Keys: made, taken apart, and refused without asking the database."""

from hypothesis import given
from hypothesis import strategies as st

from libs.common.redaction import redacted
from services.gateway.identity.key_format import SECRET_LENGTH, derived_secret, new_key, parse_key, text_of


def test_a_key_says_what_it_is_and_parses_back() -> None:
    text, parts = new_key("staging")
    assert text.startswith("argosy_staging_")
    assert parse_key(text) == parts
    assert parts.secret not in repr(text.rsplit("_", 2)[0])


def test_keys_differ() -> None:
    assert len({new_key("dev")[0] for _ in range(100)}) == 100


def test_a_derived_key_is_the_same_again_and_another_for_anything_else() -> None:
    text, parts = new_key("dev", lambda key_id: derived_secret(b"s", "tenant", key_id))
    assert parse_key(text) == parts
    assert parts.secret == derived_secret(b"s", "tenant", parts.id)
    assert text == text_of(parts)
    facts = [("a", "b"), ("ab", ""), ("", "ab"), ("a",), ("b", "a")]
    secrets = {derived_secret(server_secret, *said) for server_secret in (b"s", b"t") for said in facts}
    assert len(secrets) == 2 * len(facts)
    assert {len(secret) for secret in secrets} == {SECRET_LENGTH}


def test_one_changed_character_fails_the_checksum() -> None:
    text, _ = new_key("dev")
    for position in range(len(text)):
        changed = text[:position] + ("x" if text[position] != "x" else "y") + text[position + 1 :]
        assert parse_key(changed) is None


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    assert parse_key(text) is None


def test_a_key_that_is_not_ascii_is_no_key() -> None:
    assert parse_key("argosy_dev_x_y_é") is None


def test_every_key_is_blotted_out_of_logs_but_for_its_public_part() -> None:
    for env in ("dev", "staging", "prod7"):
        for _ in range(50):
            text, parts = new_key(env)
            assert redacted(text.encode()).decode() == f"argosy_{env}_{parts.id}_[redacted]"
