"""The only place that writes state to disk: whole files, or records in a log (X11).

OK means the bytes are on disk. A file is written beside its place, synced, renamed, and its
directory synced. A log record carries a magic word, its length, a sequence number and a CRC, so
that a scan finds every whole record even after torn or damaged bytes.
"""

from __future__ import annotations

import logging
import os
import secrets
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

log = logging.getLogger(__name__)

_TEMPORARY = ".tmp-"
_MAGIC = b"LHR1"
_HEADER = struct.Struct(">4sIQI")  # magic, payload length, sequence, crc32 of (sequence, payload)
_MAX_RECORD = 1 << 30


def make_directory(path: Path) -> Path:
    """Creates a directory (with parents) and makes the entry itself durable."""
    if not path.is_dir():
        missing = [path, *[parent for parent in path.parents if not parent.exists()]]
        path.mkdir(parents=True, exist_ok=True)
        for made in missing:
            sync_directory(made.parent)
    return path


def sync_directory(path: Path) -> None:
    """Makes renames and removals inside a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_file(path: Path, *, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Yields a binary file that appears at `path`, whole and durable, when the block ends well.

    When the block raises, nothing remains.
    """
    temporary = path.parent / f"{_TEMPORARY}{secrets.token_hex(8)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_directory(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def atomic_write(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replaces the file at `path` in one durable step."""
    with atomic_file(path, mode=mode) as file:
        file.write(data)


def remove_file(path: Path) -> bool:
    """Removes a file durably; returns whether it was there."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    sync_directory(path.parent)
    return True


def sweep_temporaries(directory: Path) -> int:
    """Removes what interrupted atomic writes left below `directory`; returns how many."""
    count = 0
    for leftover in directory.rglob(f"{_TEMPORARY}*"):
        leftover.unlink(missing_ok=True)
        count += 1
    return count


@dataclass(frozen=True, slots=True)
class Record:
    """One whole record of a log."""

    sequence: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a log that are no whole record: where, how many, and whether they end the file."""

    offset: int
    length: int
    torn_tail: bool


class Log:
    """An append-only, checksummed log with group commit.

    `append` returns after fdatasync. Concurrent appends share one write and one sync: whoever gets
    the file lock first writes for all who queued meanwhile. Safe from any number of threads.
    """

    def __init__(self, path: Path) -> None:
        """Opens or creates the log; scans it, sets a torn tail aside in `<name>.torn`."""
        self.path = path
        make_directory(path.parent)
        self.damage: list[Damage] = []
        self._queue: list[_Pending] = []
        self._queue_lock = threading.Lock()
        self._file_lock = threading.Lock()
        existed = path.exists()
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - lives as long as the log
        if not existed:
            sync_directory(path.parent)
        self._broken: OSError | None = None
        self._sequence = 0
        self._recover()

    def _recover(self) -> None:
        for item in scan(self.path):
            if isinstance(item, Record):
                self._sequence = max(self._sequence, item.sequence)
            else:
                self.damage.append(item)
                log.warning("%s: %d damaged bytes at %d", self.path.name, item.length, item.offset)
        if self.damage and self.damage[-1].torn_tail:
            self._set_aside(self.damage[-1])

    def _set_aside(self, tail: Damage) -> None:
        with open(self.path, "rb") as file:
            file.seek(tail.offset)
            data = file.read()
        atomic_write(self.path.with_name(self.path.name + ".torn"), data)
        os.ftruncate(self._file.fileno(), tail.offset)
        os.fsync(self._file.fileno())

    def records(self) -> Iterator[Record]:
        """Yields every whole record in file order."""
        return (item for item in scan(self.path) if isinstance(item, Record))

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self._file.fileno()).st_size

    def append(self, payload: bytes) -> int:
        """Appends one record; returns its sequence number once it is on disk. Raises OSError."""
        pending = _Pending(payload)
        with self._queue_lock:
            self._queue.append(pending)
        with self._file_lock:
            if not pending.done:
                self._commit()
        if pending.error is not None:
            raise pending.error
        return pending.sequence

    def _commit(self) -> None:
        with self._queue_lock:
            batch, self._queue = self._queue, []
        start = self.size
        try:
            if self._broken is not None:
                raise self._broken
            _write_all(self._file, b"".join(self._framed(pending) for pending in batch))
            os.fdatasync(self._file.fileno())
        except OSError as error:
            self._undo(start)
            for pending in batch:
                pending.error = error
        finally:
            for pending in batch:
                pending.done = True

    def _framed(self, pending: _Pending) -> bytes:
        self._sequence += 1
        pending.sequence = self._sequence
        return frame(self._sequence, pending.payload)

    def _undo(self, size: int) -> None:
        # A half-written record must not come back after a restart as acknowledged. If even the
        # truncation fails, the log refuses further appends rather than follow unknown bytes.
        try:
            os.ftruncate(self._file.fileno(), size)
            os.fsync(self._file.fileno())
        except OSError as error:
            self._broken = error

    def close(self) -> None:
        """Closes the file; every acknowledged record is already on disk."""
        with self._file_lock:
            self._file.close()


class _Pending:
    __slots__ = ("done", "error", "payload", "sequence")

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.sequence = 0
        self.done = False
        self.error: OSError | None = None


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def frame(sequence: int, payload: bytes) -> bytes:
    """One record as bytes."""
    crc = zlib.crc32(payload, zlib.crc32(sequence.to_bytes(8, "big")))
    return _HEADER.pack(_MAGIC, len(payload), sequence, crc) + payload


def scan(path: Path) -> Iterator[Record | Damage]:
    """Reads a log from the start and stops at nothing: whole records, and what lies between them."""
    data = memoryview(path.read_bytes())
    offset = 0
    while offset < len(data):
        record = _record_at(data, offset)
        if record is not None:
            yield record
            offset += _HEADER.size + len(record.payload)
            continue
        resume = _next_record(data, offset + 1)
        yield Damage(offset, resume - offset, torn_tail=resume == len(data))
        offset = resume


def _next_record(data: memoryview, start: int) -> int:
    whole = data.obj
    assert isinstance(whole, bytes)
    found = whole.find(_MAGIC, start)
    while found != -1:
        if _record_at(data, found) is not None:
            return found
        found = whole.find(_MAGIC, found + 1)
    return len(data)


def _record_at(data: memoryview, offset: int) -> Record | None:
    if len(data) - offset < _HEADER.size:
        return None
    magic, length, sequence, crc = _HEADER.unpack_from(data, offset)
    begin = offset + _HEADER.size
    if magic != _MAGIC or length > _MAX_RECORD or begin + length > len(data):
        return None
    payload = bytes(data[begin : begin + length])
    if zlib.crc32(payload, zlib.crc32(sequence.to_bytes(8, "big"))) != crc:
        return None
    return Record(sequence, payload)
