"""Arrow answers that arrive in pieces."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator

import pyarrow as pa
import pytest

from services.cli.arrow import opened
from services.cli.failure import CommandError
from services.runtime.errors import DeadlineExceeded

SCHEMA = pa.schema([("n", pa.int64())])


def _stream(batches: int, rows: int = 100) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        for batch in range(batches):
            writer.write_batch(pa.record_batch([pa.array(range(batch * rows, (batch + 1) * rows))], schema=SCHEMA))
    return sink.getvalue()


class Source:
    """Pieces of some bytes, which counts what was taken and may end with an error."""

    def __init__(self, data: bytes, piece: int, error: Exception | None = None) -> None:
        self.taken = 0
        self._pieces = [data[start : start + piece] for start in range(0, len(data), piece)]
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            self.taken += 1
            yield piece
        if self._error is not None:
            raise self._error


@pytest.mark.parametrize("piece", [1, 7, 64, 1 << 20])
async def test_pieces_of_any_size_give_the_same_rows(piece: int) -> None:
    async with opened(Source(_stream(3), piece)) as stream:
        assert stream.schema.names == ["n"]
        numbers = [number async for batch in stream for number in batch["n"].to_pylist()]
    assert numbers == list(range(300))


async def test_an_answer_without_rows_has_columns() -> None:
    async with opened(Source(_stream(0), 50)) as stream:
        assert stream.schema == SCHEMA
        assert [batch async for batch in stream] == []


async def test_whoever_stops_early_takes_no_more_pieces() -> None:
    source = Source(_stream(2_000), 1 << 10)
    async with opened(source) as stream:
        async for _ in stream:
            break
    assert source.taken < 1_800


async def test_whoever_is_interrupted_while_waiting_gets_away_at_once() -> None:
    waiting = asyncio.Event()

    async def never() -> AsyncIterator[bytes]:
        waiting.set()
        await asyncio.Event().wait()
        yield b""

    async def read() -> None:
        async with opened(never()):
            pytest.fail("nothing ever came")

    task = asyncio.create_task(read())
    await asyncio.wait_for(waiting.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)


async def test_an_error_of_the_call_arrives_as_itself() -> None:
    source = Source(b"", 10, DeadlineExceeded("too slow"))
    with pytest.raises(DeadlineExceeded):
        async with opened(source):
            pytest.fail("there was nothing to open")


async def test_the_error_behind_a_stream_that_was_broken_on_purpose_wins() -> None:
    source = Source(_stream(1)[:-8] + b"\x01broken!", 16, DeadlineExceeded("too slow"))
    with pytest.raises(DeadlineExceeded):
        async with opened(source) as stream:
            async for _ in stream:
                continue


async def test_bytes_that_are_no_arrow_stream_are_an_error_and_no_short_answer() -> None:
    whole = _stream(2)
    with pytest.raises(CommandError):
        async with opened(Source(whole[: len(whole) * 3 // 4], 16)) as stream:
            async for _ in stream:
                continue
    with pytest.raises(CommandError):
        async with opened(Source(b"not arrow at all, rather a page of text", 16)):
            pytest.fail("it was no stream")
