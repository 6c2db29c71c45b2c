"""Lets texts that are asked for one by one share calls to a model server.

A text waits for others a few milliseconds, or while a call runs; whatever waits then goes as one call.
Nobody waits for a call that got stuck, and nobody suffers for a neighbour: each text has its own
outcome, and a call runs until its last caller has gone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from services.embedd.errors import UpstreamFailed
from services.embedd.providers import Vector

Outcome = Vector | UpstreamFailed
Send = Callable[[Sequence[str], float], Awaitable[Sequence[Outcome]]]
"""Sends texts as one call, with the time by which it must be done; one outcome for each text."""

LINGER_SECONDS = 0.002
PATIENCE_SECONDS = 0.25


class Batcher:
    """Gathers the texts of one model. Belongs to one event loop."""

    def __init__(
        self,
        send: Send,
        *,
        most: int,
        calls: int,
        linger: float = LINGER_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """A call has at most `most` texts, and at most `calls` run at once.

        The first text waits `linger` seconds for others; a text waits at most `patience` seconds for a
        running call, if another one may run beside it.
        """
        self._send = send
        self._most = most
        self._calls = calls
        self._linger = linger
        self._patience = patience
        self._waiting: deque[_Entry] = deque()
        self._running: set[_Call] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def embed(self, text: str, deadline: float) -> Vector:
        """The vector of one text. Raises UpstreamFailed. `deadline` is a time of the loop's clock."""
        entry = _Entry(text, deadline)
        self._waiting.append(entry)
        self._consider()
        try:
            return await entry.future
        finally:
            entry.leave()

    def _consider(self) -> None:
        """Starts a call if there is reason to, or sees to it that somebody asks again."""
        self._drop_the_gone()
        while len(self._waiting) >= self._most and len(self._running) < self._calls:
            self._start()
        if self._waiting and self._timer is None and len(self._running) < self._calls:
            seconds = self._patience if self._running else self._linger
            self._timer = asyncio.get_running_loop().call_later(seconds, self._waited_enough)

    def _waited_enough(self) -> None:
        self._timer = None
        if len(self._running) < self._calls:
            self._start()
        self._consider()

    def _start(self) -> None:
        self._drop_the_gone()
        if not self._waiting:
            return
        entries = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
        call = _Call(self._send, entries)
        self._running.add(call)
        call.task.add_done_callback(lambda _: self._ended(call))

    def _ended(self, call: _Call) -> None:
        self._running.discard(call)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # Those who came while it ran have waited enough.
        self._start()
        self._consider()

    def _drop_the_gone(self) -> None:
        if any(entry.future.done() for entry in self._waiting):
            self._waiting = deque(entry for entry in self._waiting if not entry.future.done())


class _Entry:
    """One text and who waits for it."""

    def __init__(self, text: str, deadline: float) -> None:
        self.text = text
        self.deadline = deadline
        self.future: asyncio.Future[Vector] = asyncio.get_running_loop().create_future()
        self.call: _Call | None = None

    def leave(self) -> None:
        """The caller has what it wanted, or has gone."""
        if not self.future.done():
            self.future.cancel()
        if self.call is not None:
            self.call.one_left()

    def settle(self, outcome: Outcome) -> None:
        """Hands the outcome to the caller, if it is still there."""
        if self.future.done():
            return
        if isinstance(outcome, UpstreamFailed):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


class _Call:
    """Texts under way."""

    def __init__(self, send: Send, entries: Sequence[_Entry]) -> None:
        self._entries = entries
        self._left = len(entries)
        for entry in entries:
            entry.call = self
        self.task = asyncio.get_running_loop().create_task(self._run(send))

    def one_left(self) -> None:
        """When all have gone there is nobody to work for."""
        self._left -= 1
        if not self._left:
            self.task.cancel()

    async def _run(self, send: Send) -> None:
        texts = [entry.text for entry in self._entries]
        try:
            outcomes = await send(texts, max(entry.deadline for entry in self._entries))
        except Exception as error:
            # A fault of ours, or of the whole call: each caller gets it, and the guard tells which.
            for entry in self._entries:
                if not entry.future.done():
                    entry.future.set_exception(error)
            return
        for entry, outcome in zip(self._entries, outcomes, strict=True):
            entry.settle(outcome)
