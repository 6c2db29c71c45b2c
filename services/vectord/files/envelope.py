"""The file `.lhv1`: one sealed segment, or a whole index on its way to another place (V6).

    "LHV1" · u32 big-endian length of the envelope · envelope (JSON) · FAISS index · sections · SHA-256

The envelope is version 2: it holds the list of ids, so an item needs no metadata to survive, and tells
where each section lies: `sections: {name: [offset, length]}`, counted from the first byte behind the
envelope. Three are always there: `norms` (f64), `metadata_lengths` (u32) and `metadata`, one entry
for each row; whoever writes may add others. The last 32 bytes are the SHA-256 of all before them.
Numbers are little-endian, sections begin at multiples of 64.

Version 1 is read on import only (portable.py). Version 2 files without `sections`, of the first
releases, are read, too.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import orjson

from services.runtime.durable import atomic_file
from services.vectord.errors import DamagedSegment, NewerVersion, NotLhv1
from services.vectord.segments.metric import METRICS, Metric
from services.vectord.segments.native import faiss
from services.vectord.tree.items import Norms

MAGIC = b"LHV1"
VERSION = 2
NORMS, LENGTHS, METADATA = "norms", "metadata_lengths", "metadata"

_HEAD = struct.Struct(">4sI")
DIGEST_BYTES = 32
_ALIGN = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What a file says about itself."""

    dimension: int
    metric: Metric
    storage_type: str
    ef_search: int
    """Candidates its graph needs for good recall; 0 when only a scan gives it."""
    ids: Sequence[str]
    index_bytes: int
    """Length of the FAISS index."""
    version: int = VERSION
    sections: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Offset and length of each section."""
    checksum: str = ""
    """`sha256` when the file ends with one."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """The description of the index, in a file that holds a whole one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """An open file. Everything but the envelope is a view into the mapped file."""

    envelope: Envelope
    index: memoryview
    norms: Norms
    metadata: Texts
    sections: Mapping[str, memoryview]
    """Every section by name, the three that are always there included."""


class Texts(Sequence[bytes]):
    """Serialised metadata by row."""


class Packed(Texts):
    """Texts that stand one behind the other in a mapped file; one is copied out when it is asked for."""

    def __init__(self, data: memoryview, lengths: npt.NDArray[np.uint32]) -> None:
        """The texts fill `data`."""
        self._data = data
        ends = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
        # A plain array: one number out of it costs a fifth of what it costs out of numpy.
        self._ends = array("q", ends.tobytes())

    def __len__(self) -> int:
        """How many texts."""
        return len(self._ends) - 1

    def __getitem__(self, row: Any) -> Any:
        """One text."""
        ends = self._ends
        return self._data[ends[row] : ends[row + 1]].tobytes()


Buffer = bytes | memoryview


def raw(array: npt.NDArray[Any]) -> memoryview:
    """The bytes of an array, not copied when they lie one behind the other."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Bytes of a known length that are produced piece by piece."""

    size: int
    pieces: Callable[[], Iterable[Buffer]]

    @classmethod
    def of(cls, data: Buffer | npt.NDArray[Any]) -> Part:
        """What is in memory, or mapped, already."""
        view = raw(data) if isinstance(data, np.ndarray) else memoryview(data)
        return cls(size=view.nbytes, pieces=lambda: (view,))


class _Sink:
    """Counts, hashes, and passes on to a file when there is one."""

    def __init__(self, file: BinaryIO | None = None) -> None:
        self._file = file
        self.size = 0
        self.digest = hashlib.sha256()

    def write(self, data: Buffer) -> int:
        size = memoryview(data).nbytes
        if self._file is not None:
            self._file.write(data)
            self.digest.update(data)
        self.size += size
        return size


def row_sections(norms: Norms, metadata: Sequence[bytes]) -> dict[str, Part]:
    """The three sections that every file has."""
    lengths = np.array([len(one) for one in metadata], dtype="<u4")
    texts = Part(size=int(lengths.sum(dtype=np.int64)), pieces=lambda: metadata)
    return {NORMS: Part.of(norms.astype("<f8")), LENGTHS: Part.of(lengths), METADATA: texts}


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
    sections: Mapping[str, Buffer | npt.NDArray[Any]] | None = None,
) -> str:
    """Writes a segment durably; returns the file's SHA-256 in hexadecimal.

    `sections` are more than the three; a reader finds them in `Contents.sections`.
    """
    measured = _Sink()
    _write_index(index, measured)
    parts = row_sections(norms, metadata)
    parts |= {name: Part.of(data) for name, data in (sections or {}).items()}
    head, _ = describe(
        dimension=index.d,
        metric=metric,
        storage_type=storage_type,
        ef_search=ef_search,
        ids=ids,
        index_bytes=measured.size,
        sections=parts,
    )
    with atomic_file(path) as file:
        sink = _Sink(file)
        sink.write(head)
        _write_index(index, sink)
        for piece in _behind(measured.size, parts):
            sink.write(piece)
        sink.write(sink.digest.digest())
    return sink.digest.hexdigest()


def _write_index(index: Any, sink: _Sink) -> None:
    faiss.write_index(index, faiss.PyCallbackIOWriter(sink.write))


def describe(
    *,
    dimension: int,
    metric: Metric,
    storage_type: str,
    ef_search: int,
    ids: Sequence[str],
    index_bytes: int,
    sections: Mapping[str, Part],
    about: Mapping[str, Any] | None = None,
) -> tuple[bytes, int]:
    """The beginning of a file, up to the first byte of the index, and the size of the whole file."""
    places, end = _places(index_bytes, sections)
    envelope = Envelope(
        dimension=dimension,
        metric=metric,
        storage_type=storage_type,
        ef_search=ef_search,
        ids=ids,
        index_bytes=index_bytes,
        sections=places,
        checksum="sha256",
        about=about or {},
    )
    text = orjson.dumps(envelope)
    text += b" " * (-(_HEAD.size + len(text)) % _ALIGN)
    return _HEAD.pack(MAGIC, len(text)) + text, _HEAD.size + len(text) + end + DIGEST_BYTES


def _places(index_bytes: int, sections: Mapping[str, Part]) -> tuple[dict[str, tuple[int, int]], int]:
    places: dict[str, tuple[int, int]] = {}
    end = index_bytes
    for name, part in sections.items():
        begin = end + -end % _ALIGN
        end = begin + part.size
        places[name] = (begin, part.size)
    return places, end


def _behind(index_bytes: int, sections: Mapping[str, Part]) -> Iterator[Buffer]:
    end = index_bytes
    for part in sections.values():
        yield b"\0" * (-end % _ALIGN)
        end += -end % _ALIGN + part.size
        yield from part.pieces()


def stream(head: bytes, index: Part, sections: Mapping[str, Part]) -> Iterator[Buffer]:
    """All bytes of a file that `describe` began, in pieces as they come."""
    digest = hashlib.sha256()
    for pieces in ((head,), index.pieces(), _behind(index.size, sections)):
        for piece in pieces:
            digest.update(piece)
            yield piece
    yield digest.digest()


def read(path: Path, *, sha256: str | None) -> Contents:
    """Maps a segment's file. Checks all of it against `sha256`, unless that is None: just written.

    Raises DamagedSegment, NewerVersion. Costs one sequential read for the check.
    """
    mapped = mapped_file(path)
    if sha256 is not None and hashlib.sha256(mapped).hexdigest() != sha256:
        raise DamagedSegment(f"{path.name} does not have the checksum it was written with")
    return parse(memoryview(mapped), path.name)


def mapped_file(path: Path) -> mmap.mmap:
    """A file as memory. Raises DamagedSegment when it is missing, unreadable or empty."""
    try:
        with open(path, "rb") as file:
            return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    except FileNotFoundError as error:
        raise DamagedSegment(f"{path.name} is missing") from error
    except (OSError, ValueError) as error:
        raise DamagedSegment(f"{path.name} cannot be read or is empty") from error


def split(data: memoryview, name: str) -> tuple[dict[str, Any], memoryview]:
    """The envelope as it stands there, its version checked, and what follows it.

    Raises NotLhv1, DamagedSegment, NewerVersion.
    """
    if len(data) < _HEAD.size or _HEAD.unpack_from(data)[0] != MAGIC:
        raise NotLhv1(f"{name} is not an .lhv1 file")
    length = _HEAD.unpack_from(data)[1]
    try:
        document = orjson.loads(data[_HEAD.size : _HEAD.size + length])
        version = int(document["version"])
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedSegment(f"{name} is cut short or damaged: its envelope cannot be read") from error
    if version > VERSION:
        raise NewerVersion(f"{name} has version {version}, this release knows {VERSION}", version=version)
    return document, data[_HEAD.size + length :]


def parse(data: memoryview, name: str) -> Contents:
    """The parts of a file of version 2, as views into it. Raises as `split`."""
    document, body = split(data, name)
    try:
        return _contents(document, body)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedSegment(f"{name} is cut short or damaged") from error


def _contents(document: Mapping[str, Any], body: memoryview) -> Contents:
    envelope = Envelope(**{key: document[key] for key in Envelope.__dataclass_fields__ if key in document})
    _check(envelope, body)
    count = len(envelope.ids)
    places = envelope.sections or _former_places(envelope.index_bytes, count, body)
    end = len(body) - (DIGEST_BYTES if envelope.checksum else 0)
    sections = {name: _cut(body, offset, length, end) for name, (offset, length) in places.items()}
    lengths = np.frombuffer(sections[LENGTHS], dtype="<u4", count=count)
    norms = np.frombuffer(sections[NORMS], dtype="<f8", count=count)
    if int(lengths.sum(dtype=np.int64)) != len(sections[METADATA]):
        raise ValueError("metadata")
    return Contents(
        envelope=envelope,
        index=_cut(body, 0, envelope.index_bytes, end),
        norms=norms,
        metadata=Packed(sections[METADATA], lengths),
        sections=sections,
    )


def _check(envelope: Envelope, body: memoryview) -> None:
    # The texts of a file that came from elsewhere may hold anything.
    if envelope.metric not in METRICS or not isinstance(envelope.ids, list) or envelope.dimension < 1:
        raise ValueError("envelope")
    if envelope.checksum not in ("", "sha256") or len(body) < (DIGEST_BYTES if envelope.checksum else 0):
        raise ValueError("checksum")


def _cut(body: memoryview, offset: int, length: int, end: int) -> memoryview:
    if offset < 0 or length < 0 or offset + length > end:
        raise ValueError("section")
    return body[offset : offset + length]


def _former_places(index_bytes: int, count: int, body: memoryview) -> dict[str, tuple[int, int]]:
    lengths_at = index_bytes + 8 * count
    metadata_at = lengths_at + 4 * count
    return {
        NORMS: (index_bytes, 8 * count),
        LENGTHS: (lengths_at, 4 * count),
        METADATA: (metadata_at, len(body) - metadata_at),
    }
