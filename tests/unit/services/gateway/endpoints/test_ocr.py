"""The fields beside a document, and what makes two submissions the same."""

from itertools import combinations

import pytest

from libs.common.blobs import Stored
from libs.common.contracts.ocr import OcrOptions
from services.gateway.endpoints.ocr import OcrSubmission, RecurringDocument, _fields, _fingerprint
from services.gateway.endpoints.submission import JobFields
from services.gateway.endpoints.uploads import Upload
from services.gateway.problems import Invalid


def test_without_options_there_are_the_defaults() -> None:
    for fields in ({}, {"options": ""}, {"options": "{}"}):
        assert _fields(fields) == OcrSubmission()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"options": "{"}, {"options"}),
        ({"options": "[]"}, {"options"}),
        ({"options": '{"dpi": "300"}'}, {"options.dpi"}),
        ({"options": '{"dpi": 71, "colour": 1}'}, {"options.dpi", "options.colour"}),
        ({"options": '{"pages": "3-1"}'}, {"options.pages"}),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, str], named: set[str]) -> None:
    with pytest.raises(Invalid) as refused:
        _fields(fields)
    assert {error["field"] for error in refused.value.members["errors"]} == named


def upload(sha256: str = "aa", filename: str = "scan.png") -> Upload:
    return Upload(Stored(size=3, sha256=sha256), "image/png", filename)


def test_a_submission_is_the_same_however_it_was_written() -> None:
    first = _fields({"options": '{"dpi": 300, "tags": ["a"]}'})
    again = _fields({"options": ' { "tags":["a"], "dpi":300.0, "psm": 3 } '})
    assert _fingerprint(upload(), first) == _fingerprint(upload(), again)


def test_another_file_name_or_option_is_another_submission() -> None:
    plain = OcrSubmission()
    prints = [
        _fingerprint(upload(), plain),
        _fingerprint(upload(sha256="bb"), plain),
        _fingerprint(upload(filename="other.png"), plain),
        _fingerprint(upload(), OcrSubmission(dpi=300)),
        _fingerprint(upload(), OcrSubmission(priority="high")),
    ]
    assert all(one != other for one, other in combinations(prints, 2))


def test_options_of_the_job_and_of_the_reading_do_not_meet() -> None:
    assert not set(JobFields.model_fields) & set(OcrOptions.model_fields)
    assert set(RecurringDocument.model_fields) == {"document", *OcrOptions.model_fields}
