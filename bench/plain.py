"""The baseline of an ingest: pyarrow alone, streaming CSV to Parquet with types it is told.

`python -m bench.plain SOURCE TARGET TYPES` where TYPES is JSON: {"column": "int64", …}. Prints seconds.
"""

from __future__ import annotations

import json
import sys
import time

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

TYPES = {
    "boolean": pa.bool_(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "string": pa.string(),
}


def convert(source: str, target: str, types: dict[str, str]) -> float:
    """Converts one file; returns the seconds it took."""
    begin = time.perf_counter()
    reader = pc.open_csv(
        source,
        read_options=pc.ReadOptions(block_size=4 << 20),
        parse_options=pc.ParseOptions(newlines_in_values=True),
        convert_options=pc.ConvertOptions(column_types={name: TYPES[kind] for name, kind in types.items()}),
    )
    with pq.ParquetWriter(target, reader.schema, compression="zstd", compression_level=1) as writer:
        for batch in reader:
            writer.write_batch(batch)
    return time.perf_counter() - begin


if __name__ == "__main__":
    sys.stdout.write(str(convert(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))))
