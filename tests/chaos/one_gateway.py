"""python -m tests.chaos.one_gateway POINT: serves, and is killed at that point of a request."""

import sys

from libs.common.blobs import Blobs
from libs.common.ledger import bulk_retries, making, retention, schedules
from services.gateway.__main__ import main
from services.gateway.identity import keys
from tests.chaos.dying import Point, die_at

POINTS = {
    "remembered, not committed": Point(making, "fetch_within", lambda _connection, sql, *_: "INSERT" in sql),
    "key made": Point(keys, "issue"),
    "schedule made": Point(schedules, "create"),
    "replay made": Point(bulk_retries, "start"),
    "removal begun": Point(retention, "remove_ended_job", at_once=True),
    "row removed": Point(retention, "remove_ended_job"),
    "files removed": Point(Blobs, "discard"),
}

if __name__ == "__main__":
    die_at(POINTS[sys.argv[1]])
    main()
