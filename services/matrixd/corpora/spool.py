"""The answer of a query, on disk until it is embedded.

A query has a time-out, and embedding is slower than reading: so the rows are fetched at full speed
first and embedded from here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pyarrow as pa

from services.matrixd.errors import RowsCutShort


class Spool:
    """An Arrow IPC stream in a file without a name, which is gone when this process is."""

    def __init__(self, directory: Path) -> None:
        # Scratch, not state: nothing of it outlives the job, so it needs no durable write.
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - closed by `close`
        self._batches: Iterator[pa.RecordBatch] | None = None

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        """Appends a piece of the stream."""
        self._file.write(data)

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Reads the stream from its beginning, at most `rows` rows at a time.

        Raises RowsCutShort where the stream does not hold what it promised.
        """
        self._file.seek(0)
        try:
            with pa.ipc.open_stream(self._file) as reader:
                for batch in reader:
                    for start in range(0, batch.num_rows, rows):
                        yield batch.slice(start, rows)
        except (pa.ArrowException, OSError) as error:
            raise RowsCutShort("the rows of the dataset ended before they were complete: build again") from error
