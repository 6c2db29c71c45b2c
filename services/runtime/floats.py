"""Writing ndarrays into `repeated float` fields, a hundred times faster than through the constructor."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

LENGTH_DELIMITED = 2


def varint(value: int) -> bytes:
    """Encodes a non-negative integer as a protobuf varint."""
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


@cache
def length_tag(descriptor: Descriptor, field: str) -> bytes:
    """The tag that stands before a length-delimited field on the wire."""
    return varint(descriptor.fields_by_name[field].number << 3 | LENGTH_DELIMITED)


def packed(tag: bytes, values: npt.NDArray[np.float32]) -> bytes:
    """The wire form of a packed float field: tag, byte length, little-endian float32."""
    data = np.ascontiguousarray(values, dtype="<f4").tobytes()
    return tag + varint(len(data)) + data


def set_floats(message: Message, field: str, values: npt.NDArray[np.float32]) -> None:
    """Replaces a `repeated float` field by a one-dimensional float32 array."""
    message.ClearField(field)
    message.MergeFromString(packed(length_tag(message.DESCRIPTOR, field), values))
