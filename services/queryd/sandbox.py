"""The SQL engine in a process of its own, as the servicer uses it (Q4, X6, X7).

Statements are answered in time whatever the worker does: what takes too long or has lost its caller
is interrupted, and a worker that does not heed the interrupt is replaced. Its other statements are
run again in the next one, because a SELECT can be.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Coroutine, Sequence
from pathlib import Path
from typing import Any

from services.queryd import wire
from services.queryd.config import QueryConfig
from services.queryd.errors import EngineRestarted, QueryTimeout
from services.queryd.pieces import cut, failed_tail
from services.queryd.process import WorkerLost, WorkerProcess
from services.queryd.statement import Statement
from services.queryd.views import View
from services.runtime.errors import Internal, ServiceError

log = logging.getLogger(__name__)

ATTEMPTS = 2
CHECK_SECONDS = 10.0
DEAF_SECONDS = 10.0
INTERRUPT_EVERY = 0.05
REMEMBERED_STATEMENTS = 512


class Sandbox:
    """One worker process at a time, started when it is first needed. For one event loop."""

    def __init__(self, *, files: Path, spill: Path, config: QueryConfig, deaf_seconds: float = DEAF_SECONDS) -> None:
        """`deaf_seconds` is how long a worker may ignore an interrupt before it is replaced."""
        self._files = files
        self._spill = spill
        self._config = config
        self._deaf_seconds = deaf_seconds
        self._starting = asyncio.Lock()
        self._worker: WorkerProcess | None = None
        self._checked: OrderedDict[str, Statement] = OrderedDict()
        self._ending: set[asyncio.Task[None]] = set()

    async def ready(self) -> WorkerProcess:
        """The worker; starts one when there is none. Raises WorkerLost when none can be started."""
        if self._worker is not None and self._worker.alive:
            return self._worker
        async with self._starting:
            if self._worker is None or not self._worker.alive:
                if self._worker is not None:
                    await self._worker.close()
                    log.warning("the SQL engine stopped with code %s; starting it again", self._worker.exit_code)
                self._worker = await WorkerProcess.start(files=self._files, spill=self._spill, config=self._config)
            return self._worker

    async def check(self, text: str) -> Statement:
        """Judges a statement (see Gate.check). About 0.7 ms, nothing when it was seen before."""
        statement = self._checked.get(text)
        if statement is None:
            header, _ = await self._ask({"do": "check", "text": text}, CHECK_SECONDS)
            statement = Statement(
                text=header["text"], tables=tuple(header["tables"]), lists_tables=header["lists_tables"]
            )
            self._checked[text] = statement
            if len(self._checked) > REMEMBERED_STATEMENTS:
                self._checked.popitem(last=False)
        self._checked.move_to_end(text)
        return statement

    async def json(self, text: str, views: Sequence[View], seconds: float) -> bytes:
        """The whole answer of a checked statement as JSON. Errors as the contract has them."""
        _, answer = await self._ask({"do": "json", "text": text, "views": views}, seconds)
        return answer

    async def pieces(self, text: str, views: Sequence[View], seconds: float) -> AsyncGenerator[bytes, None]:
        """The answer as an Arrow stream in pieces of at most 1 MiB; only the engine's time counts, not the reader's.

        A failure after the first piece is raised after bytes that no Arrow reader accepts (X3).
        """
        parts = self._parts({"do": "part", "text": text, "views": views}, seconds)
        begun = False
        try:
            async for part in parts:
                begun = True
                for piece in cut(part):
                    yield piece
        except Exception as error:
            if begun:
                yield failed_tail(error.reason if isinstance(error, ServiceError) else Internal.reason)
            raise
        finally:
            await parts.aclose()

    async def _parts(self, request: wire.Header, seconds: float) -> AsyncGenerator[bytes, None]:
        begin = time.monotonic()
        worker, number, (header, part) = await self._first(request, seconds)
        try:
            while "end" not in header:
                seconds -= time.monotonic() - begin
                yield part
                begin = time.monotonic()
                header, part = await self._within(worker, number, {"do": "part"}, seconds)
        except WorkerLost:
            raise _restarted() from None
        finally:
            if not worker.waits(number):
                worker.tell(number, {"do": "close"})

    async def _ask(self, request: wire.Header, seconds: float) -> wire.Frame:
        _, _, answer = await self._first(request, seconds)
        return answer

    async def _first(self, request: wire.Header, seconds: float) -> tuple[WorkerProcess, int, wire.Frame]:
        """The first answer to a request, from the next worker when one is lost over it."""
        for _ in range(ATTEMPTS):
            try:
                worker = await self.ready()
                number = worker.number()
                return worker, number, await self._within(worker, number, request, seconds)
            except WorkerLost:
                continue
        raise _restarted()

    async def _within(self, worker: WorkerProcess, number: int, request: wire.Header, seconds: float) -> wire.Frame:
        answer = worker.ask(number, request)
        try:
            await asyncio.wait({answer}, timeout=max(0.0, seconds))
            if not answer.done():
                raise QueryTimeout("the statement ran longer than it may: narrow it down, or allow it more time")
            return answer.result()
        finally:
            if not answer.done():
                self._end(self._interrupt(worker, number, answer))

    def _end(self, ending: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(ending)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _interrupt(self, worker: WorkerProcess, number: int, answer: asyncio.Future[wire.Frame]) -> None:
        """Sees a statement to its end that nobody waits for any more."""
        last = time.monotonic() + self._deaf_seconds
        while not answer.done():
            if time.monotonic() > last:
                log.warning("a statement does not heed its interrupt; replacing the SQL engine")
                await worker.close()
            # Again and again: an interrupt that falls between two steps of the work is lost.
            worker.tell(number, {"do": "interrupt"})
            await asyncio.wait({answer}, timeout=INTERRUPT_EVERY)
        worker.tell(number, {"do": "close"})
        # Nobody waits for the outcome; asking for it keeps asyncio from reporting it as forgotten.
        answer.exception()

    async def close(self) -> None:
        """Ends the worker, and with it all statements."""
        async with self._starting:
            if self._worker is not None:
                await self._worker.close()
        if self._ending:
            await asyncio.wait(self._ending)


def _restarted() -> EngineRestarted:
    return EngineRestarted("the SQL engine stopped while the statement ran, and was started again: try again")
