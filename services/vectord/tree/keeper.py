"""Background work on the indexes while they are used: seals, merges, what goes into storage."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from services.runtime.errors import ServiceError
from services.vectord.tree.engine import Chore, Lane

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.1
_LOOK_SHARE = 20
_FIRST_RETRY_SECONDS = 1.0
_LAST_RETRY_SECONDS = 30.0

Owner = tuple[object, str]
"""Whoever needs a chore, and its name for the log."""


class Keeper:
    """Looks several times a second at what is due. Each lane has threads of its own, so that a seal, which
    keeps memory bounded, never waits for a long merge; of each owner a lane does one chore at a time.
    """

    def __init__(self, due: Callable[[], Iterable[tuple[Owner, Chore]]], threads: Mapping[Lane, int]) -> None:
        """`due` gives the chores there are at the moment, `threads` how many of a lane go on at once."""
        self._due = due
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vectord-keeper", daemon=True)
        self._pools = {lane: ThreadPoolExecutor(count, f"vectord-{lane}") for lane, count in threads.items()}
        self._lock = threading.Lock()
        self._running: set[tuple[object, Lane]] = set()
        self._failed: dict[tuple[object, Lane], tuple[float, float]] = {}

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; work under way is given up within about a second."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        for pool in self._pools.values():
            pool.shutdown(wait=True, cancel_futures=True)

    def _run(self) -> None:
        pause = _LOOK_SECONDS
        while not self._stopping.wait(pause):
            began = time.monotonic()
            try:
                for owner, chore in self._due():
                    self._begin(owner, chore)
            except Exception:
                # Whatever it was, the other indexes still have to be looked after.
                log.exception("the indexes could not be looked at")
            # A look costs some 30 us an index: with thousands of them it must not take a core.
            pause = max(_LOOK_SECONDS, _LOOK_SHARE * (time.monotonic() - began))

    def _begin(self, owner: Owner, chore: Chore) -> None:
        key = (owner[0], chore.lane)
        with self._lock:
            if key in self._running or time.monotonic() < self._failed.get(key, (0.0, 0.0))[0]:
                return
            self._running.add(key)
        self._pools[chore.lane].submit(self._do, key, owner[1], chore)

    def _do(self, key: tuple[object, Lane], name: str, chore: Chore) -> None:
        failed: Exception | None = None
        try:
            chore.work(self._stopping.is_set)
        except Exception as error:
            if self._stopping.is_set():
                return
            failed = error
            # Nothing is lost: the log keeps what could not be sealed, the disk what could not be stored.
            known = error if isinstance(error, (OSError, ServiceError)) else None
            log.error("%s: %s is put off: %s", name, chore.lane, known, exc_info=None if known else error)
        with self._lock:
            self._running.discard(key)
            self._note(key, failed)

    def _note(self, key: tuple[object, Lane], failed: Exception | None) -> None:
        if failed is None:
            self._failed.pop(key, None)
            return
        waited = min(2 * self._failed.get(key, (0.0, _FIRST_RETRY_SECONDS / 2))[1], _LAST_RETRY_SECONDS)
        self._failed[key] = (time.monotonic() + waited, waited)
