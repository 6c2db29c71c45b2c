"""The `file` back end: every object is one file that begins with its record (S2, S6, X11).

An upload is written beside the tree, synced, and linked into its place, so that an object is there
whole or not at all. A link never replaces a file: of any number of creators exactly one wins.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from services.runtime.durable import make_directory
from services.runtime.errors import FailedPrecondition
from services.runtime.names import directory_name
from services.storaged.backend import PIECE_BYTES, ObjectInfo, Stored
from services.storaged.errors import (
    BucketNotEmpty,
    BucketNotFound,
    ObjectDamaged,
    ObjectExists,
    ObjectNotFound,
    StorageFull,
)
from services.storaged.record import RECORD_BYTES, decode_record, encode_record
from services.storaged.tree import Tree

log = logging.getLogger(__name__)

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class FileBackend:
    """Holds every bucket in a directory of its own below `root`."""

    def __init__(self, root: Path) -> None:
        """Raises FailedPrecondition where the file system cannot keep the promises made here."""
        self._root = make_directory(root)
        with tempfile.TemporaryDirectory(prefix="probe-", dir=root) as scratch:
            probe = Path(scratch) / "A"
            probe.touch()
            if probe.with_name("a").exists():
                raise FailedPrecondition("the data directory's file system takes 'A' and 'a' for one name; use another")
            try:
                os.link(probe, probe.with_name("link"))
            except OSError as error:
                raise FailedPrecondition("the data directory's file system has no hard links; use another") from error

    def open_bucket(self, name: str) -> FileStore:
        """Returns the store of a bucket and removes what interrupted uploads left there."""
        return FileStore(self._root / directory_name(name))


class FileStore:
    """The objects of one bucket. Safe from any number of threads of one process."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._incoming = make_directory(directory / "incoming")
        for leftover in self._incoming.iterdir():
            leftover.unlink()
        self._tree = Tree(directory / "objects")
        self._lock = threading.Lock()
        self._destroyed = False

    def begin(self, key: str, *, content_type: str, size: int | None) -> FileSink:
        """Starts an upload. One small write; `size` is not needed here."""
        self._tree.path(key)
        return FileSink(self, self._incoming / secrets.token_hex(16), key, content_type)

    def open(self, key: str) -> FileSource:
        """Opens an object. One read of 4 KiB."""
        try:
            # Reading objects is this module's business; only writing goes another way.
            file = open(self._tree.path(key), "rb", buffering=0)  # noqa: SIM115 - closed by the source
        except FileNotFoundError:
            raise ObjectNotFound(f"there is no object {key!r}", key=key) from None
        try:
            return FileSource(file, key)
        except BaseException:
            file.close()
            raise

    def stat(self, key: str) -> ObjectInfo:
        """Reads an object's record and checks its size against the file's. One read of 4 KiB."""
        source = self.open(key)
        source.close()
        return source.info

    def list(self, prefix: str, *, after: str, limit: int) -> list[ObjectInfo]:
        """Lists objects; about 20 us each. A damaged one is listed without checksum, so that it can be found."""
        found = (self._listed(key, path) for key, path in self._tree.walk(prefix, after))
        return list(islice((info for info in found if info is not None), limit))

    def _listed(self, key: str, path: str) -> ObjectInfo | None:
        try:
            return self.stat(key)
        except ObjectNotFound:
            return None
        except ObjectDamaged as error:
            log.warning("%s", error)
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return None
        modified = datetime.fromtimestamp(status.st_mtime, UTC)
        size = max(status.st_size - RECORD_BYTES, 0)
        return ObjectInfo(key=key, size=size, sha256="", content_type="", modified_at=modified)

    def delete(self, key: str) -> bool:
        """Deletes an object and the directories it leaves empty. One sync."""
        path = self._tree.path(key)
        with self._lock:
            try:
                os.unlink(path)
            except FileNotFoundError:
                return False
            directory = os.path.dirname(path)
            self._tree.changed(directory)
            descriptor = os.open(self._tree.prune(directory), os.O_RDONLY | os.O_DIRECTORY)
        _sync(descriptor)
        return True

    def destroy(self) -> None:
        """Removes the bucket's directory. Raises BucketNotEmpty when there is an object."""
        with self._lock:
            if next(self._tree.walk(), None) is not None:
                raise BucketNotEmpty("the bucket still has objects; delete them first")
            self._destroyed = True
            shutil.rmtree(self._directory)

    def publish(self, temporary: Path, key: str, *, create_only: bool) -> bool:
        """Gives a synced file its place and returns whether the key was new. One sync.

        Raises ObjectExists when it was not and `create_only` is set, BucketNotFound after `destroy`.
        """
        path = self._tree.path(key)
        # The lock keeps directories from being pruned between making and filling them, and makes
        # whoever finds a directory wait until the one who made it has synced its entry.
        with self._lock:
            if self._destroyed:
                raise BucketNotFound("the bucket was removed meanwhile")
            directory = os.path.dirname(path)
            self._tree.make(directory)
            created = _link(temporary, path)
            if not created and create_only:
                raise ObjectExists(f"there is an object {key!r} already", key=key)
            if created:
                self._tree.changed(directory)
            else:
                os.replace(temporary, path)
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        _sync(descriptor)
        return created


class FileSink:
    """One upload in a file of its own, outside the tree. Used by one thread at a time."""

    def __init__(self, store: FileStore, path: Path, key: str, content_type: str) -> None:
        self._store = store
        self._path = path
        self._key = key
        self._content_type = content_type
        self._size = 0
        # Not state before it is linked into the tree, and swept at start: hence no durable file.
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115 - closed by commit or discard
        self._file.seek(RECORD_BYTES)

    def write(self, data: bytes) -> None:
        """Appends bytes."""
        with _no_room_is_an_error():
            _write_all(self._file, data)
        self._size += len(data)

    def commit(self, *, sha256: str, create_only: bool) -> Stored:
        """Writes the record in front, syncs the file and gives it its place. Two syncs."""
        info = ObjectInfo(
            key=self._key,
            size=self._size,
            sha256=sha256,
            content_type=self._content_type,
            modified_at=datetime.now(UTC),
        )
        with _no_room_is_an_error():
            self._file.seek(0)
            _write_all(self._file, encode_record(info))
            os.fsync(self._file.fileno())
            created = self._store.publish(self._path, self._key, create_only=create_only)
        self.discard()
        return Stored(info=info, created=created)

    def discard(self) -> None:
        """Closes and removes the temporary name; the object, once committed, keeps its own."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class FileSource:
    """An object's open file."""

    def __init__(self, file: BinaryIO, key: str) -> None:
        """Raises ObjectDamaged when the record is not readable or the file has another size."""
        self._file = file
        self.info = decode_record(file.read(RECORD_BYTES), key)
        size = os.fstat(file.fileno()).st_size - RECORD_BYTES
        if size != self.info.size:
            raise ObjectDamaged(f"the object {key!r} has {size} bytes instead of {self.info.size}", key=key)

    def stream(self, offset: int, length: int) -> Iterator[bytes]:
        """Yields a range in pieces of 1 MiB."""
        self._file.seek(RECORD_BYTES + offset)
        while piece := self._file.read(min(length, PIECE_BYTES)):
            length -= len(piece)
            yield piece

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _link(temporary: Path, path: str) -> bool:
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    return True


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


@contextmanager
def _no_room_is_an_error() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise StorageFull("there is no room for the object on the storage's file system") from error
