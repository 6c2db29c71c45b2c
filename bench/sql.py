"""`POST /v1/sql` with a GROUP BY, beside the same statement in DuckDB inside this process."""

from __future__ import annotations

import time
from pathlib import Path

import duckdb
import orjson

from bench import load, report
from bench.stack import BenchStack

ROUNDS = 60
MOST_ADDED_MS = 4.0


async def measure(stack: BenchStack, dataset: str, parquet: Path, statement: str) -> list[report.Row]:
    """One GROUP BY. `parquet` holds the rows of `dataset`; the statement names the dataset."""
    connection = await load.HttpConnection.open("127.0.0.1", stack.port_base)
    database = duckdb.connect()
    view = statement.replace(f'"{dataset}"', f"read_parquet('{parquet}')")
    body = orjson.dumps({"sql": statement})
    served, embedded = [], []
    for number in range(ROUNDS + 5):
        begin = time.perf_counter()
        database.execute(view).fetchall()
        middle = time.perf_counter()
        answer = await connection.post("/v1/sql", body)
        end = time.perf_counter()
        if number >= 5:
            embedded.append((middle - begin) * 1e3)
            served.append((end - middle) * 1e3)
    connection.close()
    expected = database.execute(f"SELECT count(*) FROM ({view})").fetchall()[0][0]
    if orjson.loads(answer)["row_count"] != expected:
        raise RuntimeError("the mesh and DuckDB disagree about the answer")
    return [report.difference("POST /v1/sql GROUP BY / DuckDB", served, embedded, MOST_ADDED_MS, "ms")]
