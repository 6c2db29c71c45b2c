"""Closed-loop load: so many callers, each calling again as soon as it is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial


@dataclass(frozen=True, slots=True)
class Load:
    """What one round of load did."""

    calls_per_second: float
    median_ms: float
    p99_ms: float


async def run(call: Callable[[int], Awaitable[object]], *, callers: int, seconds: float) -> Load:
    """Calls `call(number of the caller)` from `callers` loops for about `seconds`. Errors end the run."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def caller(number: int) -> None:
        while (begin := time.perf_counter()) < end:
            await call(number)
            times.append(time.perf_counter() - begin)

    begin = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    elapsed = time.perf_counter() - begin
    times.sort()
    return Load(len(times) / elapsed, times[len(times) // 2] * 1e3, times[int(len(times) * 0.99)] * 1e3)


async def alternate(
    calls: Mapping[str, Callable[[int, int], Awaitable[object]]], *, callers: int, seconds: float, rounds: int
) -> dict[str, list[Load]]:
    """Runs each kind of call in turn, round after round, so that they share the machine's moods.

    A call gets the number of its caller and a count of calls. The first round warms up and is not counted.
    """
    found: dict[str, list[Load]] = {name: [] for name in calls}
    counter = iter(range(10**9))
    for number in range(rounds + 1):
        for name, call in calls.items():
            result = await run(partial(_counted, call, counter), callers=callers, seconds=seconds)
            if number > 0:
                found[name].append(result)
    return found


def _counted(call: Callable[[int, int], Awaitable[object]], counter: Iterator[int], number: int) -> Awaitable[object]:
    return call(number, next(counter))


class HttpConnection:
    """One keep-alive HTTP/1.1 connection that posts JSON, lean enough not to be what is measured."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, host: str, port: int) -> HttpConnection:
        """Connects."""
        return cls(*await asyncio.open_connection(host, port))

    async def post(self, path: str, body: bytes) -> bytes:
        """Returns the body of a 200 or 201 answer; anything else is an error."""
        lines = (
            f"POST {path} HTTP/1.1",
            "host: bench",
            "content-type: application/json",
            f"content-length: {len(body)}",
        )
        self._writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        header = await self._reader.readuntil(b"\r\n\r\n")
        lowered = header.lower()
        length = int(lowered.partition(b"content-length:")[2].partition(b"\r\n")[0])
        answer = await self._reader.readexactly(length)
        if not header.startswith(b"HTTP/1.1 20"):
            raise RuntimeError(f"{header.decode()}{answer.decode()}")
        return answer

    def close(self) -> None:
        """Disconnects."""
        self._writer.close()


@asynccontextmanager
async def connections(port: int, count: int) -> AsyncIterator[list[HttpConnection]]:
    """Connections to a port of this machine."""
    opened = [await HttpConnection.open("127.0.0.1", port) for _ in range(count)]
    yield opened
    for connection in opened:
        connection.close()
