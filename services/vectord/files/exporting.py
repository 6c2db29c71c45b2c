"""An index as one `.lhv1` file, made piece by piece while it is read: no copy of the index in memory."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.vectord.files import envelope, manifest
from services.vectord.files.envelope import Buffer, Part
from services.vectord.files.manifest import Description
from services.vectord.segments.metric import Floats, Metric, Rows, faiss_metric
from services.vectord.segments.native import faiss
from services.vectord.segments.sealed import SealedSegment
from services.vectord.segments.snapshot import Part as Segment
from services.vectord.segments.snapshot import Snapshot

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A file that is about to be read."""

    size: int
    """Its bytes."""
    pieces: Iterator[bytes]
    """All of them, at most 1 MiB at a time."""


def export(snapshot: Snapshot, description: Description) -> Export:
    """One state of an index as a file.

    An index that is one sealed segment keeps its graph; of any other the vectors are listed, in float32,
    and whoever imports it links them anew. Costs memory for the ids only.
    """
    parts = [part for part in snapshot.parts if part.live]
    about = manifest.about(description)
    if len(parts) == 1 and parts[0].alive is None and isinstance(parts[0].segment, SealedSegment):
        return _as_it_is(parts[0].segment, about)
    return _listed(parts, description, about)


def _as_it_is(segment: SealedSegment, about: dict[str, Any]) -> Export:
    contents = segment.contents
    index = Part.of(contents.index)
    sections = {name: Part.of(data) for name, data in contents.sections.items()}
    head, size = envelope.describe(
        dimension=contents.envelope.dimension,
        metric=contents.envelope.metric,
        storage_type=contents.envelope.storage_type,
        ef_search=contents.envelope.ef_search,
        ids=contents.envelope.ids,
        index_bytes=index.size,
        sections=sections,
        about=about,
    )
    return Export(size=size, pieces=_cut(envelope.stream(head, index, sections)))


def _listed(parts: Sequence[Segment], description: Description, about: dict[str, Any]) -> Export:
    rows = [(part, part.live_rows()) for part in parts]
    count = sum(len(some) for _, some in rows)
    index = _flat(rows, count, description.dimension, description.metric)
    norms = np.concatenate([np.empty(0), *(part.segment.norms(some) for part, some in rows)])
    texts = _Texts(rows)
    sections = envelope.row_sections(norms, texts)
    head, size = envelope.describe(
        dimension=description.dimension,
        metric=description.metric,
        storage_type="float32",
        ef_search=0,
        ids=[part.segment.ids[row] for part, some in rows for row in some.tolist()],
        index_bytes=index.size,
        sections=sections,
        about=about,
    )
    return Export(size=size, pieces=_cut(envelope.stream(head, index, sections)))


class _Texts(Sequence[bytes]):
    """The metadata of some rows, read where it lies."""

    def __init__(self, rows: Sequence[tuple[Segment, Rows]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return sum(len(some) for _, some in self._rows)

    def __getitem__(self, place: Any) -> Any:
        raise NotImplementedError("only read in order")

    def __iter__(self) -> Iterator[bytes]:
        for part, some in self._rows:
            metadata = part.segment.metadata
            for row in some.tolist():
                yield metadata[row]


def _flat(rows: Sequence[tuple[Segment, Rows]], count: int, dimension: int, metric: Metric) -> Part:
    """What FAISS would write for a flat index of these vectors."""
    head = _flat_head(count, dimension, metric)
    step = max(1, _PIECE_BYTES // (4 * dimension))

    def pieces() -> Iterator[Buffer]:
        yield head
        for part, some in rows:
            for begin in range(0, len(some), step):
                vectors: Floats = part.segment.vectors(some[begin : begin + step])
                yield envelope.raw(vectors.astype("<f4", copy=False))

    return Part(size=len(head) + 4 * count * dimension, pieces=pieces)


def _flat_head(count: int, dimension: int, metric: Metric) -> bytes:
    # FAISS's own, with another count: u32 name, i32 d, i64 ntotal, ..., u64 floats.
    empty: bytes = faiss.serialize_index(faiss.IndexFlat(dimension, faiss_metric(metric))).tobytes()
    return empty[:8] + struct.pack("<q", count) + empty[16:-8] + struct.pack("<Q", count * dimension)


def _cut(pieces: Iterator[Buffer]) -> Iterator[bytes]:
    """Pieces of one size, whatever they were before."""
    gathered = bytearray()
    for piece in pieces:
        view = memoryview(piece).cast("B")
        for begin in range(0, len(view), _PIECE_BYTES):
            gathered += view[begin : begin + _PIECE_BYTES]
            if len(gathered) >= _PIECE_BYTES:
                yield bytes(gathered[:_PIECE_BYTES])
                del gathered[:_PIECE_BYTES]
    if gathered:
        yield bytes(gathered)
