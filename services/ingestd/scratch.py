"""Files on their way in: put aside on disk, so that memory stays flat and a reading can be repeated.

Nothing here is state: a folder lives as long as its request, and a start clears what is left.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.ingestd.errors import ScratchFull
from services.runtime.errors import Cancelled

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Scratch:
    """The place for such folders."""

    def __init__(self, root: Path) -> None:
        """Makes the place, and clears what an interrupted run left there."""
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        self._root = root

    def open(self) -> Folder:
        """A new folder for one file; under 1 ms. Raises ScratchFull."""
        with _room():
            return Folder(Path(tempfile.mkdtemp(dir=self._root)))


class Folder:
    """The folder of one file: as received, and as converted.

    A caller that goes away is noticed on the event loop while a worker thread may be in the folder;
    so `close` may be called at any time, and waits until that thread has left.
    """

    def __init__(self, path: Path) -> None:
        self.received = path / "received"
        self.converted = path / "converted.parquet"
        self.stop = threading.Event()
        """Set when the work is not wanted any more."""
        self._path = path
        self._lock = threading.Lock()

    @contextmanager
    def use(self) -> Iterator[None]:
        """Keeps the folder while a thread works in it. Raises Cancelled if it is gone, ScratchFull without room."""
        with self._lock, _room():
            if self.stop.is_set():
                raise Cancelled("the caller went away")
            yield

    def close(self) -> None:
        """Stops the work and removes the folder; blocks until the work has stopped."""
        self.stop.set()
        with self._lock:
            shutil.rmtree(self._path, ignore_errors=True)


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise ScratchFull("there is no room on disk to receive and convert the file: try again later") from error
