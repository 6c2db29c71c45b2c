"""The write-ahead log's payload: what one group of writes did to an index (V6).

    u8 version · u64 time in ns · operations…
    put:    u8 1 · u32 items · u32 dimension · texts ids · texts metadata · f64 norms · f32 vectors
    delete: u8 2 · u32 items · texts ids
    texts:  u32 byte length of each (0xFFFFFFFF is None), then the bytes

Little-endian. Framing, sequence numbers and checksums are the log's (services/runtime/durable.py).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.vectord.tree.items import Batch

VERSION = 1
_HEAD = struct.Struct("<BQ")
_PUT = struct.Struct("<BII")
_DELETE = struct.Struct("<BI")
_KIND_PUT = 1
_KIND_DELETE = 2
_NONE = 0xFFFFFFFF


class UnknownVersion(Exception):
    """A record written by a later release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Ids to delete."""

    ids: Sequence[str]


Operation = Batch | Delete


def encode(operations: Iterable[Operation], *, time_ns: int) -> bytes:
    """One log record."""
    parts = [_HEAD.pack(VERSION, time_ns)]
    for operation in operations:
        parts += _put(operation) if isinstance(operation, Batch) else _delete(operation)
    return b"".join(parts)


def decode(payload: bytes) -> tuple[int, list[Operation]]:
    """The time and the operations of a record; vectors are views into the payload. Raises UnknownVersion."""
    version, time_ns = _HEAD.unpack_from(payload)
    if version != VERSION:
        raise UnknownVersion(f"record version {version}")
    reader = _Reader(payload, _HEAD.size)
    operations: list[Operation] = []
    while not reader.done:
        operations.append(reader.operation())
    return time_ns, operations


def _put(batch: Batch) -> list[bytes]:
    return [
        _PUT.pack(_KIND_PUT, len(batch), batch.vectors.shape[1]),
        *_texts([item_id.encode() for item_id in batch.ids]),
        *_texts(batch.metadata),
        batch.norms.astype("<f8").tobytes(),
        batch.vectors.astype("<f4").tobytes(),
    ]


def _delete(operation: Delete) -> list[bytes]:
    return [_DELETE.pack(_KIND_DELETE, len(operation.ids)), *_texts([item_id.encode() for item_id in operation.ids])]


def _texts(texts: Sequence[bytes | None]) -> list[bytes]:
    lengths = np.array([_NONE if text is None else len(text) for text in texts], dtype="<u4")
    return [lengths.tobytes(), *(text for text in texts if text)]


class _Reader:
    def __init__(self, payload: bytes, offset: int) -> None:
        self._payload = payload
        self._offset = offset

    @property
    def done(self) -> bool:
        return self._offset >= len(self._payload)

    def operation(self) -> Operation:
        if self._payload[self._offset] == _KIND_DELETE:
            _, count = self._unpack(_DELETE)
            return Delete(ids=[text.decode() for text in self._texts(count) if text is not None])
        _, count, dimension = self._unpack(_PUT)
        ids = [text.decode() for text in self._texts(count) if text is not None]
        metadata = self._texts(count)
        norms = self._array("<f8", count).astype(np.float64)
        vectors = self._array("<f4", count * dimension).astype(np.float32, copy=False)
        return Batch(ids=ids, vectors=vectors.reshape(count, dimension), norms=norms, metadata=metadata)

    def _unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        values = layout.unpack_from(self._payload, self._offset)
        self._offset += layout.size
        return values

    def _array(self, dtype: str, count: int) -> npt.NDArray[np.generic]:
        values = np.frombuffer(self._payload, dtype=dtype, count=count, offset=self._offset)
        self._offset += values.nbytes
        return values

    def _texts(self, count: int) -> list[bytes | None]:
        texts: list[bytes | None] = []
        for length in self._array("<u4", count).tolist():
            if length == _NONE:
                texts.append(None)
                continue
            texts.append(self._payload[self._offset : self._offset + length])
            self._offset += length
        return texts
