"""One writer for each table: an advisory lock that ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from services.vectord.errors import IndexLocked

_FILE = "table.lock"


class TableLock:
    """Holds the table of a directory until it is released."""

    def __init__(self, directory: Path) -> None:
        """Takes the lock; raises IndexLocked when another engine, of this process or another, has it."""
        self._descriptor = os.open(directory / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise IndexLocked("another process writes this index", directory=directory.name) from None

    def release(self) -> None:
        """Lets go; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
