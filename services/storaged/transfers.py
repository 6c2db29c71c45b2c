"""One upload or download, whatever the back end: limits, checksums, clean ends (S1, S4, X11).

A caller that goes away is noticed on the event loop while a worker thread may be in the middle of a
piece; so `close` may be called at any time.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from services.runtime.errors import Cancelled
from services.storaged.backend import PIECE_BYTES, ObjectInfo, ObjectStore, Sink, Source, Stored
from services.storaged.errors import (
    ObjectDamaged,
    ObjectExists,
    ObjectNotFound,
    RangeNotSatisfiable,
    SizeMismatch,
)
from services.storaged.limits import check_content_type, check_size


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRequest:
    """What is known of an upload before its first byte; `limit` is the most it may have."""

    key: str
    content_type: str
    create_only: bool
    declared: int | None
    limit: int


class Upload:
    """Bytes on their way into a store. Nothing of them remains unless `commit` returns."""

    def __init__(self, store: ObjectStore, request: UploadRequest) -> None:
        """Touches no disk. Raises ObjectTooLarge for a declared size, InvalidArgument for a bad media type."""
        check_content_type(request.content_type)
        check_size(request.key, request.declared or 0, request.limit)
        self._store = store
        self._request = request
        self._lock = threading.Lock()
        self._sink: Sink | None = None
        self._closed = False
        self._received = 0
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._digest = hashlib.sha256()

    def add(self, data: bytes) -> bool:
        """Takes bytes without blocking; returns whether it is time to `flush`.

        Raises ObjectTooLarge, or SizeMismatch when more came than was declared.
        """
        self._received += len(data)
        check_size(self._request.key, self._received, self._request.limit)
        if self._request.declared is not None and self._received > self._request.declared:
            raise _mismatch(self._request.declared, self._received)
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        return self._waiting_bytes >= PIECE_BYTES

    def flush(self) -> None:
        """Writes what waits; blocks for 1-2 ms per MiB. Raises ObjectExists, StorageFull, Cancelled."""
        with self._lock:
            self._flushed()

    def commit(self) -> Stored:
        """Ends the upload, durably when it returns; blocks. Raises SizeMismatch, and what `flush` does."""
        declared = self._request.declared
        if declared is not None and self._received != declared:
            raise _mismatch(declared, self._received)
        with self._lock:
            sink = self._flushed()
            return sink.commit(sha256=self._digest.hexdigest(), create_only=self._request.create_only)

    def close(self) -> None:
        """Removes what was not committed; blocks, also for a piece being written. May be called twice."""
        with self._lock:
            self._closed = True
            if self._sink is not None:
                self._sink.discard()

    def _flushed(self) -> Sink:
        if self._closed:
            raise Cancelled("the upload was given up")
        sink = self._sink or self._begin()
        data = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        self._digest.update(data)
        sink.write(data)
        return sink

    def _begin(self) -> Sink:
        request = self._request
        if request.create_only and _exists(self._store, request.key):
            raise ObjectExists(f"there is an object {request.key!r} already", key=request.key)
        self._sink = self._store.begin(request.key, content_type=request.content_type, size=request.declared)
        return self._sink


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A download that has begun: the object, how many bytes come, and the first of them."""

    info: ObjectInfo
    size: int
    first: bytes


class Download:
    """Bytes of one object, or a range of it, on their way out.

    The last piece of a whole object is held back until the checksum is known to be right, so that
    damaged bytes never arrive as a complete object.
    """

    def __init__(self, store: ObjectStore, key: str, *, offset: int, length: int | None) -> None:
        """Touches no disk. `length` None means to the end."""
        self._store = store
        self._key = key
        self._offset = offset
        self._length = length
        self._lock = threading.Lock()
        self._source: Source | None = None
        self._closed = False
        self._pieces: Iterator[bytes] = iter(())

    def open(self) -> Opened:
        """Opens the object and reads at most 1 MiB; blocks.

        Raises ObjectNotFound, ObjectDamaged, RangeNotSatisfiable.
        """
        with self._in_use():
            self._source = source = self._store.open(self._key)
            info = source.info
            if self._offset > info.size:
                raise RangeNotSatisfiable.of("offset", f"is behind the end of the object, {info.size} bytes")
            rest = info.size - self._offset
            size = rest if self._length is None else min(rest, self._length)
            self._pieces = _checked(source.stream(self._offset, size), info, size)
            return Opened(info=info, size=size, first=next(self._pieces, b""))

    def next_piece(self) -> bytes:
        """Returns the next 1 MiB, or nothing at the end; blocks. Raises ObjectDamaged."""
        with self._in_use():
            return next(self._pieces, b"")

    def close(self) -> None:
        """Lets go of the object without blocking: while a piece is being read, whoever reads it does."""
        self._closed = True
        self._release()

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        try:
            with self._lock:
                if self._closed:
                    raise Cancelled("the download was given up")
                yield
        finally:
            self._release()

    def _release(self) -> None:
        if self._closed and self._lock.acquire(blocking=False):
            try:
                if self._source is not None:
                    self._source.close()
            finally:
                self._lock.release()


def _checked(pieces: Iterator[bytes], info: ObjectInfo, size: int) -> Iterator[bytes]:
    # Raises ObjectDamaged instead of the last piece, or where it is missing.
    digest = hashlib.sha256()
    whole = size == info.size
    for piece in pieces:
        if whole:
            digest.update(piece)
        size -= len(piece)
        if whole and size == 0 and digest.hexdigest() != info.sha256:
            raise ObjectDamaged(f"the bytes of the object {info.key!r} are not those stored", key=info.key)
        yield piece
    if size > 0:
        raise ObjectDamaged(f"the object {info.key!r} ends {size} bytes early", key=info.key)


def _exists(store: ObjectStore, key: str) -> bool:
    try:
        store.stat(key)
    except ObjectNotFound:
        return False
    except ObjectDamaged:
        return True
    return True


def _mismatch(declared: int, received: int) -> SizeMismatch:
    problem = f"has {received} bytes so far" if received > declared else f"ended after {received} bytes"
    return SizeMismatch(f"data: {problem}, {declared} were declared", declared=declared, received=received)
