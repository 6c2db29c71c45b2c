"""The worker process: DuckDB and nothing else, with bounded memory, without keys in its environment (Q4, X9).

Whatever a statement does to this process, queryd lives on and starts another. Requests come as
frames: `check` judges a text, `json` answers a statement, `part` gives the next bytes of an Arrow
answer, `interrupt` and `close` end a statement. Each is answered under its id, but for the last two.
"""

from __future__ import annotations

import logging
import os
import queue
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from services.queryd import wire
from services.queryd.config import QueryConfig
from services.queryd.engine import Engine
from services.queryd.faults import EngineBroken
from services.queryd.running import Running
from services.queryd.views import View
from services.runtime.errors import Internal, ServiceError, to_status

log = logging.getLogger(__name__)

_BROKEN_EXIT = 70
_LEAST_HEADROOM = 512 << 20
_PAGE_BYTES = resource.getpagesize()

Work = Callable[[], tuple[wire.Header, bytes]]


class Worker:
    """Serves one queryd over one socket until it goes away."""

    def __init__(self, connection: socket.socket, sender: wire.Sender, engine: Engine, workers: int) -> None:
        """Starts its threads at once: later there may be no memory for them."""
        self._connection = connection
        self._sender = sender
        self._engine = engine
        self._running: dict[int, Running] = {}
        self._work: queue.SimpleQueue[tuple[int, Work]] = queue.SimpleQueue()
        self._checks: queue.SimpleQueue[tuple[int, Work]] = queue.SimpleQueue()
        self._over: queue.SimpleQueue[Running] = queue.SimpleQueue()
        loops: list[Callable[[], None]] = [partial(self._serve, self._work)] * workers
        loops += [partial(self._serve, self._checks), self._close_all]
        for loop in loops:
            threading.Thread(target=loop, daemon=True).start()

    def serve(self) -> None:
        """Takes requests until the other side is gone."""
        while (frame := wire.receive(self._connection)) is not None:
            request, _ = frame
            self._take(request["id"], request)

    def _take(self, number: int, request: wire.Header) -> None:
        match request["do"]:
            case "check":
                self._checks.put((number, lambda: self._check(request["text"])))
            case "json":
                running = self._open(number, request)
                self._work.put((number, lambda: self._json(number, running)))
            case "part":
                running = self._running.get(number) or self._open(number, request)
                self._work.put((number, lambda: self._part(number, running)))
            # The statement may end of itself at any moment.
            case "interrupt" if (found := self._running.get(number)) is not None:
                found.interrupt()
            case "close" if (found := self._running.pop(number, None)) is not None:
                self._over.put(found)

    def _open(self, number: int, request: wire.Header) -> Running:
        views = tuple(View(**{**view, "files": tuple(view["files"])}) for view in request["views"])
        running = self._running[number] = self._engine.open(request["text"], views)
        return running

    def _json(self, number: int, running: Running) -> tuple[wire.Header, bytes]:
        try:
            return {}, running.json()
        finally:
            self._running.pop(number, None)

    def _part(self, number: int, running: Running) -> tuple[wire.Header, bytes]:
        part = None
        try:
            part = running.next_part()
        finally:
            if part is None:
                self._running.pop(number, None)
        return ({"end": True}, b"") if part is None else ({}, part)

    def _check(self, text: str) -> tuple[wire.Header, bytes]:
        statement = self._engine.check(text)
        header = {"text": statement.text, "tables": statement.tables, "lists_tables": statement.lists_tables}
        return header, b""

    def _serve(self, requests: queue.SimpleQueue[tuple[int, Work]]) -> None:
        while True:
            number, work = requests.get()
            try:
                header, payload = work()
            except ServiceError as error:
                self._sender.send(*_failure(number, error))
            except EngineBroken as error:
                log.error("DuckDB cannot go on: %s", error)
                os._exit(_BROKEN_EXIT)
            except Exception:
                log.exception("unexpected error")
                self._sender.send(*_failure(number, Internal("internal error in the SQL engine; the log has it")))
            else:
                self._sender.send({"id": number, **header}, payload)

    def _close_all(self) -> None:
        # Apart from all else, because closing may have to wait for DuckDB.
        while True:
            self._over.get().close()


def _failure(number: int, error: ServiceError) -> tuple[wire.Header, bytes]:
    return {"id": number, "error": error.message, "code": error.code.value[0]}, to_status(error).SerializeToString()


def _limit_memory(config: QueryConfig) -> None:
    """Bounds the process, because DuckDB does not count single values against its own limit."""
    try:
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * _PAGE_BYTES
    except FileNotFoundError:
        log.warning("the memory of single values is bounded on Linux only")
        return
    limit = used + config.memory_limit_bytes + max(_LEAST_HEADROOM, config.memory_limit_bytes // 2)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


class _Logs(logging.Handler):
    """Hands log records to queryd, which knows where logs go."""

    def __init__(self, sender: wire.Sender) -> None:
        super().__init__()
        self._sender = sender

    def emit(self, record: logging.LogRecord) -> None:
        self._sender.send({"id": 0, "log": self.format(record), "level": record.levelno})


def main() -> None:
    """Serves the socket whose number is the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for queryd, which then ends this process.
    connection = socket.socket(fileno=int(sys.argv[1]))
    frame = wire.receive(connection)
    if frame is None:
        return
    order, _ = frame
    sender = wire.Sender(connection)
    logging.basicConfig(handlers=[_Logs(sender)])
    config = QueryConfig(**order["config"])
    engine = Engine(files=Path(order["files"]), spill=Path(order["spill"]), config=config)
    worker = Worker(connection, sender, engine, config.workers)
    _limit_memory(config)
    sender.send({"id": order["id"]})
    worker.serve()
    # Whatever DuckDB still does, nobody waits for it.
    os._exit(0)


if __name__ == "__main__":
    main()
