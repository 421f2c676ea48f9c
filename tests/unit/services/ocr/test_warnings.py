"""A result lists its warnings, each once, with the pages that they are about."""

import pytest

from services.ocr.warnings import MESSAGES, listed


def test_a_warning_of_several_pages_is_listed_once() -> None:
    found = listed({9: ["text_layer_replaced"], 2: ["text_layer_replaced", "text_layer_doubtful"], 3: []})
    assert [(warning["code"], warning["pages"]) for warning in found] == [
        ("text_layer_replaced", [2, 9]),
        ("text_layer_doubtful", [2]),
    ]
    assert all(warning["message"] == MESSAGES[warning["code"]] for warning in found)


def test_a_warning_of_the_document_names_no_page() -> None:
    assert listed({1: []}, ["signature_lost"]) == [
        {"code": "signature_lost", "message": MESSAGES["signature_lost"], "pages": []}
    ]
    assert listed({1: []}) == []


def test_an_unknown_code_is_a_fault() -> None:
    with pytest.raises(KeyError):
        listed({1: ["no_such_warning"]})
