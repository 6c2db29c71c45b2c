"""The file of one sealed segment, `.lhv1`: written once, checked by its hash before it is read (V6).

    "LHV1" · u32 big-endian length of the envelope · envelope (JSON) · FAISS index · f64 norms ·
    u32 byte length of each metadata · metadata bytes

The envelope is version 2: it holds the list of ids, so an item needs no metadata to survive. All
numbers after it are little-endian.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import orjson

from services.runtime.durable import atomic_file
from services.vectord.items import Norms
from services.vectord.metric import Metric
from services.vectord.native import faiss

MAGIC = b"LHV1"
VERSION = 2
_HEAD = struct.Struct(">4sI")


class DamagedSegment(Exception):
    """A segment's file is missing, or is not what was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What a segment says about itself."""

    dimension: int
    metric: Metric
    storage_type: str
    ef_search: int
    """Candidates its graph needs for good recall; 0 when only a scan gives it."""
    ids: Sequence[str]
    index_bytes: int
    """Length of the FAISS index."""
    version: int = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """An open segment file. Everything but the envelope is a view into the mapped file."""

    envelope: Envelope
    index: memoryview
    norms: Norms
    metadata: Packed


class Packed:
    """Texts that stand one behind the other in a mapped file; one is copied out when it is asked for."""

    def __init__(self, mapped: mmap.mmap, lengths: npt.NDArray[np.uint32], *, offset: int) -> None:
        """The first text begins at `offset`."""
        self._mapped = mapped
        ends = np.concatenate(([offset], np.cumsum(lengths, dtype=np.int64) + offset))
        # A plain array: one number out of it costs a fifth of what it costs out of numpy.
        self._ends = array("q", ends.tobytes())

    def __len__(self) -> int:
        """How many texts."""
        return len(self._ends) - 1

    def __getitem__(self, row: int) -> bytes:
        """One text."""
        return self._mapped[self._ends[row] : self._ends[row + 1]]


@dataclass(slots=True)
class _Tally:
    """A sink that counts and hashes, and passes on to a file when there is one."""

    file: BinaryIO | None = None
    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def write(self, data: bytes) -> int:
        if self.file is not None:
            self.file.write(data)
            self.digest.update(data)
        self.size += len(data)
        return len(data)


def write(
    path: Path,
    *,
    index: Any,
    ids: Sequence[str],
    norms: Norms,
    metadata: Sequence[bytes],
    metric: Metric,
    storage_type: str,
    ef_search: int,
) -> str:
    """Writes a segment durably; returns the file's SHA-256 in hexadecimal."""
    measured = _Tally()
    _write_index(index, measured)
    envelope = Envelope(
        dimension=index.d,
        metric=metric,
        storage_type=storage_type,
        ef_search=ef_search,
        ids=ids,
        index_bytes=measured.size,
    )
    head = orjson.dumps(envelope)
    with atomic_file(path) as file:
        tally = _Tally(file)
        tally.write(_HEAD.pack(MAGIC, len(head)))
        tally.write(head)
        _write_index(index, tally)
        tally.write(norms.astype("<f8").tobytes())
        tally.write(np.array([len(one) for one in metadata], dtype="<u4").tobytes())
        tally.write(b"".join(metadata))
    return str(tally.digest.hexdigest())


def _write_index(index: Any, sink: _Tally) -> None:
    faiss.write_index(index, faiss.PyCallbackIOWriter(sink.write))


def read(path: Path, *, sha256: str | None) -> Contents:
    """Maps a segment's file. Checks all of it against `sha256`, unless that is None: just written.

    Raises DamagedSegment. Costs one sequential read for the check.
    """
    try:
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    except FileNotFoundError as error:
        raise DamagedSegment(f"{path.name} is missing") from error
    except (OSError, ValueError) as error:
        raise DamagedSegment(f"{path.name} cannot be read or is empty") from error
    if sha256 is not None and hashlib.sha256(mapped).hexdigest() != sha256:
        raise DamagedSegment(f"{path.name} does not have the checksum it was written with")
    return _parse(mapped, path.name)


def _parse(mapped: mmap.mmap, name: str) -> Contents:
    data = memoryview(mapped)
    magic, length = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise DamagedSegment(f"{name} is not a segment file")
    fields = orjson.loads(data[_HEAD.size : _HEAD.size + length])
    if fields.get("version") != VERSION:
        raise DamagedSegment(f"{name} has envelope version {fields.get('version')}, which this release cannot read")
    envelope = Envelope(**fields)
    count = len(envelope.ids)
    index_at = _HEAD.size + length
    norms_at = index_at + envelope.index_bytes
    lengths_at = norms_at + 8 * count
    lengths = np.frombuffer(data, dtype="<u4", count=count, offset=lengths_at)
    return Contents(
        envelope=envelope,
        index=data[index_at:norms_at],
        norms=np.frombuffer(data, dtype="<f8", count=count, offset=norms_at),
        metadata=Packed(mapped, lengths, offset=lengths_at + 4 * count),
    )
