"""Loads records with dlt, in an environment of its own: python -m benchmarks.sync.dlt_load FOLDER DISPOSITION.

The records come as JSON lines. It prints how many seconds the load took, of the clock and of processors. The
destination is DESTINATION__POSTGRES__CREDENTIALS, the loader is the default one, and the types of dates and
numbers are told.
"""

import json
import sys
import time

import dlt


def main() -> None:
    """Load what stands in the input."""
    records = [json.loads(line) for line in sys.stdin]
    begun, used = time.perf_counter(), time.process_time()
    folder, disposition = sys.argv[1:]
    pipeline = dlt.pipeline(
        disposition, destination="postgres", dataset_name=f"dlt_{disposition}", pipelines_dir=folder
    )
    columns = {"closes": {"data_type": "timestamp"}, "most": {"data_type": "decimal"}}
    resource = dlt.resource(
        records, name="opportunities", primary_key="id", write_disposition=disposition, columns=columns
    )
    pipeline.run(resource).raise_on_failed_jobs()
    print(time.perf_counter() - begun, time.process_time() - used)


if __name__ == "__main__":
    main()
