"""The background thread that seals and tidies indexes, one at a time, while they are used."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

from services.vectord.index import Index

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2
_RETRY_SECONDS = 30.0


class Keeper:
    """Looks at every index several times a second and compacts those that are due."""

    def __init__(self, indexes: Callable[[], Iterable[Index]]) -> None:
        """`indexes` gives the indexes there are at the moment."""
        self._indexes = indexes
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vectord-keeper", daemon=True)
        self._not_before: dict[Index, float] = {}

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; a build under way is given up within about a second."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            for index in self._indexes():
                if self._stopping.is_set():
                    return
                self._look_after(index)

    def _look_after(self, index: Index) -> None:
        growth = index.due()
        if growth is None or time.monotonic() < self._not_before.get(index, 0.0):
            return
        try:
            index.compact(growth, stop=self._stopping.is_set)
            self._not_before.pop(index, None)
        except Exception:
            # Nothing is lost: the log keeps what could not be sealed. Searches only get slower.
            log.exception("the index %s could not be sealed", index.description.name)
            self._not_before[index] = time.monotonic() + _RETRY_SECONDS
