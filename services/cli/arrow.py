"""A streamed Arrow answer, batch by batch: flat in memory, whatever the size of the result.

pyarrow reads from a blocking file while gRPC delivers asynchronously. So pyarrow works in a thread
of its own, and every read there waits for the event loop to bring the next piece.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

import pyarrow as pa

from services.cli.failure import CommandError

T = TypeVar("T")

_BUFFER = 1 << 20


class _Pieces(io.RawIOBase):
    """A readable file over pieces that arrive in the event loop."""

    def __init__(self, pieces: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._pieces = pieces
        self._loop = loop
        self._left = memoryview(b"")
        self._awaited: Future[bytes | None] | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # BufferedReader hands in nothing else
        while not self._left:
            with self._lock:
                if self._stopped:
                    return 0
                self._awaited = asyncio.run_coroutine_threadsafe(self._next(), self._loop)
            piece = self._awaited.result()
            if piece is None:
                return 0
            self._left = memoryview(piece)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def stop(self) -> None:
        """Lets go of a thread that waits for the next piece. Called in the event loop."""
        with self._lock:
            self._stopped = True
        if self._awaited is not None:
            self._awaited.cancel()

    async def _next(self) -> bytes | None:
        return await anext(self._pieces, None)


class ArrowStream:
    """An open answer: its columns, and its batches as an asynchronous iteration."""

    def __init__(self, reader: pa.RecordBatchStreamReader, pieces: AsyncIterator[bytes], thread: ThreadPoolExecutor):
        self.schema = reader.schema
        self._reader = reader
        self._pieces = pieces
        self._thread = thread

    async def __aiter__(self) -> AsyncIterator[pa.RecordBatch]:
        while (batch := await _read(self._thread, self._pieces, self._next)) is not None:
            yield batch

    def _next(self) -> pa.RecordBatch | None:
        # StopIteration cannot cross a future, hence None.
        return next(self._reader, None)


@asynccontextmanager
async def opened(pieces: AsyncIterable[bytes]) -> AsyncIterator[ArrowStream]:
    """Opens an Arrow IPC stream. Raises what `pieces` raises, or CommandError when the bytes are no such stream."""
    source = aiter(pieces)
    raw = _Pieces(source, asyncio.get_running_loop())
    file = io.BufferedReader(raw, _BUFFER)
    thread = ThreadPoolExecutor(1, "arrow")
    try:
        reader = await _read(thread, source, lambda: pa.ipc.open_stream(file))
        yield ArrowStream(reader, source, thread)
    finally:
        raw.stop()
        thread.shutdown()


async def _read(thread: ThreadPoolExecutor, source: AsyncIterator[bytes], function: Callable[[], T]) -> T:
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, function)
    except (pa.ArrowInvalid, OSError) as error:
        # A failure after the first bytes breaks the stream on purpose; its error status comes behind.
        async for _ in source:
            continue
        raise CommandError("the answer ended before it was complete", reason="BROKEN_ANSWER") from error
