"""An index out of an `.lhv1` file: nothing of it exists until all of it was found sound."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from services.runtime.durable import atomic_file
from services.vectord.config import VectorConfig
from services.vectord.errors import DamagedSegment, ImportTooLarge
from services.vectord.files import portable
from services.vectord.files.directory import Directory
from services.vectord.files.manifest import Description, Entry, Manifest
from services.vectord.files.portable import Portable
from services.vectord.tree.index import Index
from services.vectord.tree.items import Item

_CHUNK_FLOATS = 1 << 20
_FLUSH_BYTES = 4 << 20
_SEGMENT = "00000001.lhv1"


class Spool:
    """The bytes of a file as they arrive. Scratch, not state: it goes with the process."""

    def __init__(self, directory: Path, *, limit: int, declared: int | None) -> None:
        """Raises ImportTooLarge when more than `limit` bytes are announced."""
        self.path = directory / f"import-{secrets.token_hex(8)}"
        self._limit = limit
        self._declared = declared
        self._size = 0
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        if declared is not None and declared > limit:
            raise _too_large(limit)

    def add(self, data: bytes) -> bool:
        """Takes bytes without blocking; returns whether it is time to `flush`."""
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        return self._waiting_bytes >= _FLUSH_BYTES

    def flush(self) -> None:
        """Writes what waits; blocks. Raises ImportTooLarge, OSError."""
        self._size += self._waiting_bytes
        if self._size > self._limit:
            raise _too_large(self._limit)
        with open(self.path, "ab") as file:
            file.writelines(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0

    def finish(self) -> None:
        """Ends the upload; blocks. Raises DamagedSegment when fewer bytes came than were announced."""
        self.flush()
        if self._declared is not None and self._declared != self._size:
            announced, arrived = self._declared, self._size
            raise DamagedSegment(f"{announced} bytes were announced and {arrived} arrived", arrived=arrived)

    def remove(self) -> None:
        """Removes the file."""
        self.path.unlink(missing_ok=True)


def _too_large(limit: int) -> ImportTooLarge:
    return ImportTooLarge(f"the file has more than {limit} bytes, the most that can be imported", limit=limit)


def build(path: Path, file: Path, found: Portable, description: Description, config: VectorConfig) -> None:
    """Makes the directory of an index, closed, of a file that was found sound. Raises OSError and what `add` raises.

    A file of this release becomes a segment as it is; of any other each item is added anew.
    """
    if found.version == 1 or not portable.unit(found.segment, description.metric):
        _add(path, found, description, config)
        return
    first = Manifest(description=description, updated_ns=description.created_ns, next_segment=2)
    directory = Directory.create(path, first)
    try:
        if found.segment.count:
            entry = Entry(file=_SEGMENT, sha256=_copy(file, path / _SEGMENT), count=found.segment.count)
            directory.change(lambda manifest: replace(manifest, segments=[entry]))
    finally:
        directory.close()


def _copy(source: Path, target: Path) -> str:
    digest = hashlib.sha256()
    with open(source, "rb") as file, atomic_file(target) as copy:
        while piece := file.read(_FLUSH_BYTES):
            digest.update(piece)
            copy.write(piece)
    return digest.hexdigest()


def _add(path: Path, found: Portable, description: Description, config: VectorConfig) -> None:
    index = Index.create(path, description, config)
    step = max(1, _CHUNK_FLOATS // description.dimension)
    try:
        for begin in range(0, found.segment.count, step):
            index.add(_items(found, range(begin, min(begin + step, found.segment.count))))
            if index.busy:
                index.compact()
        index.seal()
    finally:
        index.close()


def _items(found: Portable, rows: Sequence[int]) -> list[Item]:
    segment, places = found.segment, np.array(rows)
    vectors = (segment.vectors(places) * segment.norms(places)[:, None]).astype(np.float32)
    return [
        Item(id=segment.ids[row], vector=vector, metadata=segment.metadata[row])
        for row, vector in zip(rows, vectors, strict=True)
    ]
