"""Results as the bytes that go out: JSON in one piece, Arrow in many (Q1, X3)."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson
import pyarrow as pa

from services.queryd.errors import ResultTooLarge, RowLimit
from services.queryd.pieces import PIECE_BYTES

ROWS_AT_A_TIME = 1_024
_USE_ARROW = "add a LIMIT, or stream the rows as Arrow from POST /v1/sql/arrow (on the command line: --arrow)"

Row = tuple[Any, ...]


def json_answer(
    columns: Sequence[tuple[str, str]], fetch: Callable[[int], list[Row]], *, row_limit: int, max_bytes: int
) -> bytes:
    """The JSON of an answer: columns, rows, row_count. About 0.1 us a value; `fetch` returns at most so many rows.

    RowLimit and ResultTooLarge, as soon as it is known.
    """
    parts: list[bytes] = []
    count = size = 0
    while rows := fetch(min(ROWS_AT_A_TIME, row_limit + 1 - count)):
        count += len(rows)
        if count > row_limit:
            raise RowLimit(f"the result has more than {row_limit:,} rows: {_USE_ARROW}", limit=row_limit)
        parts.append(orjson.dumps(rows)[1:-1])
        size += len(parts[-1])
        if size > max_bytes:
            raise ResultTooLarge(f"the result has more than {max_bytes:,} bytes as JSON: {_USE_ARROW}", limit=max_bytes)
    head = orjson.dumps([{"name": name, "type": type_name} for name, type_name in columns])
    return b'{"columns":%b,"rows":[%b],"row_count":%d}' % (head, b",".join(parts), count)


def arrow_parts(reader: pa.RecordBatchReader) -> Iterator[bytes]:
    """The Arrow IPC stream of an answer in parts of a mebibyte and more, each of whole messages.

    Reads ahead no further than the batch it is in. Because a failure can only fall between two
    messages, what `failed_tail` adds is never taken for the rest of one.
    """
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
            if sink.tell() >= PIECE_BYTES:
                yield _emptied(sink)
    yield _emptied(sink)


def _emptied(sink: io.BytesIO) -> bytes:
    data = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    return data
