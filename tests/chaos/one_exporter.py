"""python -m tests.chaos.one_exporter POINT: works off the queue of exports, and is killed at that point."""

from collections.abc import Callable

from libs.common import db
from libs.common.contracts.exports import ExporterPayload
from libs.common.contracts.services import EXPORTER
from libs.common.worker import effects
from libs.common.worker.lease import Lease
from services.exporter import file_writing, files
from services.exporter.config import Settings
from services.exporter.handler import handle, resources
from tests.chaos.dying import Point, main, succeeded


def _after_bytes(number: int) -> Callable[..., bool]:
    """Of `file_writing._noting_the_first`: more than so many bytes of files have gone to the blob store."""
    written = 0

    def are_written(chunk: bytes) -> bool:
        nonlocal written
        written += len(chunk)
        return written > number

    return are_written


HALF = 6_000_000
"""Bytes after which a bucket has been sent the first part of a file."""
POINTS = {
    "COPY begun": Point(db, "chunks_of"),
    "half uploaded": Point(file_writing, "_noting_the_first", _after_bytes(HALF)),
    "one file of two uploaded": Point(file_writing, "write"),
    "uploaded, no manifest": Point(files, "bounded"),
    "manifest uploaded": Point(files, "_write_manifest"),
    "ended, not committed": Point(effects, "finish_within"),
    "committed, not told": Point(Lease, "tell", succeeded),
}


if __name__ == "__main__":
    main(EXPORTER, POINTS, Settings, ExporterPayload, handle, resources)
