"""A result lists its warnings, each once, with the pages that they are about."""

import re
from pathlib import Path

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


def test_a_code_of_a_newer_worker_is_passed_on() -> None:
    (warning,) = listed({1: ["of_tomorrow"]})
    assert (warning["code"], warning["pages"]) == ("of_tomorrow", [1])
    assert warning["message"]


def test_the_codes_that_this_version_gives_have_messages() -> None:
    """Each is a text in the code that begins as those of MESSAGES do."""
    begins = {code.partition("_")[0] for code in MESSAGES}
    modules = [path.read_text() for path in Path("services/ocr").glob("*.py") if path.name != "warnings.py"]
    given = {text for module in modules for text in re.findall(r'"([a-z]+(?:_[a-z]+)+)"', module)}
    assert given & MESSAGES.keys() == MESSAGES.keys()
    assert {code for code in given - MESSAGES.keys() if code.partition("_")[0] in begins} == set()
