"""Sets of rows as Lance takes them: a 64-bit roaring bitmap in the portable format.

    u32 fragments · for each: u32 fragment, u32 bytes, a 32-bit roaring bitmap
    bitmap: u32 12346, u32 containers · u16 key, u16 size - 1 of each · u32 offset of each · the containers
    container: up to 4,096 rows as u16 each, more as 65,536 bits

A row's address is its fragment in the upper half and its place in the fragment in the lower.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Addresses = npt.NDArray[np.uint64]
Offsets = npt.NDArray[np.int64]

_COOKIE = 12346
_ARRAY_ROWS = 4096
_CONTAINER_ROWS = 1 << 16
_HALF = np.uint64(32)
_LOWER = np.uint64(0xFFFFFFFF)


def split(addresses: Addresses) -> dict[int, Offsets]:
    """The places of some rows by fragment, ascending and without repetition."""
    ordered = np.unique(addresses)
    fragments, begins = np.unique(ordered >> _HALF, return_index=True)
    ends = [*begins[1:].tolist(), len(ordered)] if len(ordered) else []
    return {
        int(fragment): (ordered[begin:end] & _LOWER).astype(np.int64)
        for fragment, begin, end in zip(fragments, begins.tolist(), ends, strict=True)
    }


def encode(rows: Mapping[int, Offsets]) -> bytes:
    """The set as bytes; `rows` are places by fragment, ascending and without repetition."""
    parts = [struct.pack("<I", len(rows))]
    for fragment in sorted(rows):
        bitmap = _bitmap(rows[fragment])
        parts += (struct.pack("<II", fragment, len(bitmap)), bitmap)
    return b"".join(parts)


def _bitmap(offsets: Offsets) -> bytes:
    keys, begins, sizes = np.unique(offsets >> 16, return_index=True, return_counts=True)
    containers = [
        _container(offsets[begin : begin + size] & (_CONTAINER_ROWS - 1))
        for begin, size in zip(begins.tolist(), sizes.tolist(), strict=True)
    ]
    heads = np.stack([keys, sizes - 1], axis=1).astype("<u2").tobytes()
    first = 8 + 8 * len(keys)
    places = np.cumsum([first, *(len(container) for container in containers)])[:-1].astype("<u4").tobytes()
    return b"".join([struct.pack("<II", _COOKIE, len(keys)), heads, places, *containers])


def _container(rows: Offsets) -> bytes:
    if len(rows) <= _ARRAY_ROWS:
        return rows.astype("<u2").tobytes()
    bits = np.zeros(_CONTAINER_ROWS, dtype=np.bool_)
    bits[rows] = True
    return np.packbits(bits, bitorder="little").tobytes()
