"""Who reads the files of a table; they are removed only when nobody does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Readers:
    """Safe from any number of threads."""

    def __init__(self) -> None:
        """Open."""
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False

    @contextmanager
    def reading(self) -> Iterator[bool]:
        """Whether the block may read; nothing is removed while it runs."""
        with self._changed:
            admitted = not self._closed
            self._inside += admitted
        try:
            yield admitted
        finally:
            with self._changed:
                self._inside -= admitted
                self._changed.notify_all()

    def close(self) -> None:
        """Admits nobody any more, and waits for those who read."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._inside)
