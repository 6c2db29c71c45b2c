"""`.lhv1` files that came from elsewhere, of version 2 or 1. Nothing in them is believed.

Version 1: the envelope is `{"version": 1, "metadata": {id: object | null, …}, "params": {…}}`. The ids are
the keys of `metadata`, in the order of the rows; `params` (or the envelope itself) may hold `metric` or
`distance`, `m`, `ef_construction` and `ef_search`. The index is FAISS's, up to the end of the file. There
is no checksum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.struct_pb2 import Struct

from services.vectord.errors import DamagedSegment, NotLhv1
from services.vectord.files import envelope, manifest
from services.vectord.files.envelope import DIGEST_BYTES, Contents, Envelope
from services.vectord.files.manifest import Description
from services.vectord.segments.building import Parameters
from services.vectord.segments.metric import METRICS, Metric
from services.vectord.segments.native import faiss
from services.vectord.segments.sealed import SealedSegment
from services.vectord.tree import items
from services.vectord.tree.items import Item

_STRETCH = 1 << 22
_CHUNK_FLOATS = 1 << 20
_NAME = "the file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Portable:
    """A file that was read and found sound."""

    description: Description
    """What it says of its index; name, bucket and time are to be given."""
    segment: SealedSegment
    """The rows, mapped from the file."""
    version: int


def read(path: Path) -> Portable:
    """Reads and checks a whole file: its checksum, its structure, each id and vector.

    Raises NotLhv1, DamagedSegment, NewerVersion, and what `items.check` raises. Costs one read of the file.
    """
    if path.stat().st_size < 8:
        raise NotLhv1(f"{_NAME} is not an .lhv1 file")
    data = memoryview(envelope.mapped_file(path))
    document, body = envelope.split(data, _NAME)
    try:
        contents = _version_1(document, body) if document["version"] == 1 else envelope.parse(data, _NAME)
        described = _description(document, contents.envelope)
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, ParseError) as error:
        raise DamagedSegment(f"{_NAME} is cut short or damaged") from error
    if contents.envelope.checksum and _digest(data[:-DIGEST_BYTES]) != data[-DIGEST_BYTES:]:
        raise DamagedSegment(f"{_NAME} does not have the checksum it was written with")
    segment = _segment(contents)
    _check_rows(segment, described)
    return Portable(description=described, segment=segment, version=document["version"])


def _digest(data: memoryview) -> bytes:
    digest = hashlib.sha256()
    for begin in range(0, len(data), _STRETCH):
        digest.update(data[begin : begin + _STRETCH])
    return digest.digest()


def _description(document: Mapping[str, Any], found: Envelope) -> Description:
    if found.about:
        said = manifest.described(found.about)
        if (said.dimension, said.metric) != (found.dimension, found.metric):
            raise ValueError("description")
        return said
    given = {**document, **dict(document.get("params") or {})}
    known = {name: int(given[name]) for name in ("m", "ef_construction", "ef_search") if given.get(name)}
    return Description(name="", dimension=found.dimension, metric=found.metric, parameters=Parameters(**known))


def _version_1(document: Mapping[str, Any], body: memoryview) -> Contents:
    given = {**document, **dict(document.get("params") or {})}
    index = faiss.deserialize_index(np.frombuffer(body, dtype=np.uint8))
    ids = list(document["metadata"])
    metadata = [_struct(value) for value in document["metadata"].values()]
    head = Envelope(
        dimension=int(index.d),
        metric=_metric(given.get("metric") or given.get("distance") or "cosine"),
        storage_type="float32",
        ef_search=0,
        ids=ids,
        index_bytes=len(body),
        version=1,
    )
    return Contents(envelope=head, index=body, norms=np.ones(len(ids)), metadata=_Listed(metadata), sections={})


def _metric(word: str) -> Metric:
    known: Mapping[str, Metric] = {"euclidean": "l2", "dot": "ip", **{metric: metric for metric in METRICS}}
    return known[word]


def _struct(value: Any) -> bytes:
    return b"" if value is None else ParseDict(value, Struct()).SerializeToString()


class _Listed(envelope.Texts):
    """Metadata in memory."""

    def __init__(self, texts: Sequence[bytes]) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, row: Any) -> Any:
        return self._texts[row]


def _segment(contents: Contents) -> SealedSegment:
    """The rows, once it is certain that no number in the index leads out of it."""
    count, dimension = len(contents.envelope.ids), contents.envelope.dimension
    try:
        array = np.frombuffer(contents.index, dtype=np.uint8)
        index = faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(array), array.size))
        graph = isinstance(index, faiss.IndexHNSW)
        flat = faiss.downcast_index(index.storage) if graph else index
        sound = (index.ntotal, flat.ntotal, index.d, flat.d) == (count, count, dimension, dimension)
        sound = sound and flat.codes.size() == count * flat.code_size and (not graph or _leads_inside(index))
        segment = SealedSegment(contents, file=_NAME, sha256="") if sound else None
        if segment is not None and (count == 0 or segment.vectors(np.arange(1)).shape[1] == dimension):
            return segment
    except (RuntimeError, ValueError, AttributeError, MemoryError) as error:
        raise DamagedSegment(f"{_NAME} is damaged: its index cannot be read") from error
    raise DamagedSegment(f"{_NAME} is damaged: its index does not fit its envelope")


def _leads_inside(index: Any) -> bool:
    """Whether every link of a graph leads to one of its rows."""
    count, graph = index.ntotal, index.hnsw
    levels, offsets = faiss.vector_to_array(graph.levels), faiss.vector_to_array(graph.offsets).astype(np.int64)
    per_level = faiss.vector_to_array(graph.cum_nneighbor_per_level)
    neighbors = faiss.rev_swig_ptr(graph.neighbors.data(), graph.neighbors.size())
    if len(levels) != count or len(offsets) != count + 1 or not -1 <= graph.entry_point < count:
        return False
    if count and not (levels.min() >= 1 and levels.max() < len(per_level) and graph.max_level < levels.max()):
        return False
    if offsets[-1] != len(neighbors) or (np.diff(offsets) != per_level[levels]).any():
        return False
    return bool(len(neighbors) == 0 or (neighbors.min() >= -1 and neighbors.max() < count))


def _check_rows(segment: SealedSegment, description: Description) -> None:
    """Every id and vector is what an add would have let through."""
    ids = segment.ids
    if len(set(ids)) != len(ids) or not all(isinstance(item_id, str) for item_id in ids):
        raise DamagedSegment(f"{_NAME} is damaged: an id is there twice, or is none")
    step = max(1, _CHUNK_FLOATS // description.dimension)
    for begin in range(0, segment.count, step):
        rows = np.arange(begin, min(begin + step, segment.count))
        chunk = [
            Item(id=ids[row], vector=vector) for row, vector in zip(rows.tolist(), segment.vectors(rows), strict=True)
        ]
        items.check(chunk, dimension=description.dimension, metric=description.metric, field="items")
        for row in rows.tolist():
            _check_metadata(segment.metadata[row])
    norms = segment.norms(np.arange(segment.count))
    if not (np.isfinite(norms) & (norms > 0)).all():
        raise DamagedSegment(f"{_NAME} is damaged: a length is not one")


def _check_metadata(metadata: bytes) -> None:
    try:
        Struct.FromString(metadata)
    except Exception as error:
        raise DamagedSegment(f"{_NAME} is damaged: metadata cannot be read") from error


def unit(segment: SealedSegment, metric: Metric) -> bool:
    """Whether the vectors are in the metric's form already."""
    if metric != "cosine":
        return True
    step = max(1, _CHUNK_FLOATS // max(1, segment.contents.envelope.dimension))
    for begin in range(0, segment.count, step):
        vectors = segment.vectors(np.arange(begin, min(begin + step, segment.count)))
        if np.abs(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64) - 1).max(initial=0) > _UNIT:
            return False
    return True


_UNIT = 1e-2  # half-precision rounding of a vector of length 1 stays far below
