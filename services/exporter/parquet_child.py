"""python -m services.exporter.parquet_child SCHEMA: CSV from standard input, Parquet to standard output.

It is a process of its own, because pyarrow keeps what it has used: some 300 MB, which end with it (parquet.py).
It begins anew for every file, so it imports nothing else that takes time.
"""

import json
import sys
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet

BLOCK = 4 * 1024 * 1024
"""Bytes of CSV in a row group: the process has some of them at once."""
TYPES = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "time": pa.timestamp("us", "UTC"),
    "date": pa.date32(),
}
"""By datasets.Kind; all others are text."""


def _types(schema: list[tuple[str, str]]) -> dict[str, Any]:
    return {name: TYPES.get(kind, pa.string()) for name, kind in schema}


def main() -> None:
    """Read CSV from standard input, and write Parquet to standard output."""
    types = _types(json.loads(sys.argv[1]))
    reader = csv.open_csv(
        pa.input_stream(sys.stdin.buffer),
        read_options=csv.ReadOptions(use_threads=False, block_size=BLOCK),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )
    with parquet.ParquetWriter(sys.stdout.buffer, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)


if __name__ == "__main__":
    main()
