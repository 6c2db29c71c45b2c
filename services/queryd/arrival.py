"""A data file on its way into the cache: it takes its place whole and checked, or not at all (X11)."""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from pathlib import Path
from typing import BinaryIO

from services.queryd.views import DataFile


class DamagedFile(Exception):
    """An object whose bytes are not those its manifest promises."""


class Discarded(Exception):
    """Work on an arrival that was given up; nobody waits for it."""


class Arrival:
    """Takes the pieces of one object in order, in a scratch file beside its place.

    `add` and `place` block for as long as the disk does and are meant for threads. `discard` may
    come at any time, also while one of them runs or still waits for its thread: nothing remains.
    """

    def __init__(self, path: Path, file: DataFile) -> None:
        self._path = path
        self._file = file
        self._scratch = path.with_name(f"arriving-{secrets.token_hex(8)}")
        self._digest = hashlib.sha256()
        self._size = 0
        self._lock = threading.Lock()
        self._sink: BinaryIO | None = None
        self._placed = False
        self._discarded = False

    def add(self, piece: bytes) -> None:
        """Writes the next piece. DamagedFile once there are more bytes than promised."""
        with self._lock:
            self._size += len(piece)
            if self._size > self._file.size:
                raise self._damaged()
            self._open().write(piece)
            self._digest.update(piece)

    def place(self) -> None:
        """Puts the finished file in its place. DamagedFile unless size and checksum are as promised."""
        with self._lock:
            self._open().close()
            if self._size != self._file.size or self._digest.hexdigest() != self._file.sha256:
                raise self._damaged()
            os.replace(self._scratch, self._path)
            self._placed = True

    def discard(self) -> bool:
        """Removes every trace of it; returns whether it was in its place already."""
        with self._lock:
            self._discarded = True
            if self._sink is not None:
                self._sink.close()
            self._scratch.unlink(missing_ok=True)
            if self._placed:
                self._path.unlink(missing_ok=True)
            return self._placed

    def _open(self) -> BinaryIO:
        if self._discarded:
            raise Discarded
        if self._sink is None:
            # Not through durable: a cached copy is no state, and is checked again when it was not seen to arrive.
            self._sink = open(self._scratch, "xb")  # noqa: SIM115 - lives as long as the arrival
        return self._sink

    def _damaged(self) -> DamagedFile:
        return DamagedFile(f"the object {self._file.key} is not the one that was registered")


def is_intact(path: Path, file: DataFile) -> bool:
    """Whether a file from an earlier run is whole; removes it when it is damaged. 0.5 s for each GiB."""
    if not path.exists() or path.stat().st_size != file.size:
        return False
    with open(path, "rb") as stream:
        intact = hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256
    if not intact:
        path.unlink()
    return intact
