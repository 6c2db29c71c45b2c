"""The worker process as queryd sees it: requests out, answers in, and an end that leaves nothing behind."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from services.queryd import wire
from services.queryd.config import QueryConfig
from services.runtime.errors import CODE_FROM_NUMBER, ServiceError, from_status

log = logging.getLogger(__name__)

_BUFFER_BYTES = 4 << 20


class WorkerLost(Exception):
    """The process ended before it answered."""


class WorkerProcess:
    """One worker process. For one event loop."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[wire.Frame]] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, *, files: Path, spill: Path, config: QueryConfig) -> WorkerProcess:
        """Starts a process and waits until it serves. About 0.4 s. Raises WorkerLost."""
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours, limit=_BUFFER_BYTES)
        try:
            with theirs:
                # Not asyncio's: uvloop forks, and gRPC's fork handlers then break one child in four.
                process = subprocess.Popen(  # noqa: ASYNC220 - vfork and exec, 1 ms
                    [sys.executable, "-m", "services.queryd.worker", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    env=_environment(),
                )
        except BaseException:
            writer.close()
            raise
        worker = cls(process, reader, writer)
        try:
            order = {"files": str(files), "spill": str(spill), "config": dataclasses.asdict(config)}
            await worker.ask(worker.number(), order)
        except BaseException:
            await worker.close()
            raise
        return worker

    @property
    def alive(self) -> bool:
        """Whether it can still answer."""
        return not self._reading.done()

    @property
    def exit_code(self) -> int | None:
        """What it ended with; None while it runs."""
        return self._process.poll()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def waits(self, number: int) -> bool:
        """Whether a request of this statement has not been answered yet."""
        return number in self._waiting

    def number(self) -> int:
        """A number for a new statement."""
        return next(self._numbers)

    def ask(self, number: int, request: wire.Header) -> asyncio.Future[wire.Frame]:
        """Sends a request; the future has the answer, the error the worker raised, or WorkerLost."""
        answer: asyncio.Future[wire.Frame] = asyncio.get_running_loop().create_future()
        if self.alive:
            self._waiting[number] = answer
            self.tell(number, request)
        else:
            answer.set_exception(WorkerLost())
        return answer

    def tell(self, number: int, request: wire.Header) -> None:
        """Sends a request that has no answer."""
        if self.alive:
            self._writer.write(wire.frame({"id": number, **request}))

    async def _read(self) -> None:
        try:
            while (frame := await wire.read(self._reader)) is not None:
                self._take(*frame)
        finally:
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(WorkerLost())
            self._waiting.clear()

    def _take(self, header: wire.Header, payload: bytes) -> None:
        if "log" in header:
            log.log(header["level"], "worker: %s", header["log"])
            return
        answer = self._waiting.pop(header["id"])
        if answer.done():
            return
        if "error" in header:
            answer.set_exception(_error(header, payload))
        else:
            answer.set_result((header, payload))

    async def close(self) -> None:
        """Kills the process, whatever it does, and waits for its end. It has nothing to lose."""
        self._process.kill()
        await asyncio.wait({self._reading})
        # Its socket closes last, so this does not wait.
        self._process.wait()
        self._writer.close()
        # What it wrote last has nobody to arrive at.
        with suppress(ConnectionError):
            await self._writer.wait_closed()


def _environment() -> dict[str, str]:
    """What a worker needs to find its code, and no more: no key, no token, no home (X9)."""
    return {
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "PYTHONSAFEPATH": "1",
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        # Fewer arenas: less address space that is reserved and never used.
        "MALLOC_ARENA_MAX": "2",
    }


def _error(header: wire.Header, details: bytes) -> ServiceError:
    return from_status(CODE_FROM_NUMBER[header["code"]], header["error"], details)
