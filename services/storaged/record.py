"""The first 4 KiB of every object's file: what is known of it, so that both appear in one step.

A line of text, `LHO1 <crc32> {json}`, padded with spaces to 4,096 bytes; the object's bytes follow.
So `head -1` shows the record and `tail -c +4097` gives the object, without any tool of ours.
"""

from __future__ import annotations

import zlib
from datetime import UTC, datetime

import orjson

from services.storaged.backend import ObjectInfo
from services.storaged.errors import ObjectDamaged

RECORD_BYTES = 4096
_MAGIC = b"LHO1 "
_BODY = len(_MAGIC) + 9


def encode_record(info: ObjectInfo) -> bytes:
    """The record as bytes. A key of 1,024 and a media type of 255 bytes always fit."""
    body = orjson.dumps(
        {
            "key": info.key,
            "size": info.size,
            "sha256": info.sha256,
            "content_type": info.content_type,
            "modified_at": info.modified_at.astimezone(UTC).isoformat(),
        }
    )
    padded = body.ljust(RECORD_BYTES - _BODY - 1) + b"\n"
    return _MAGIC + b"%08x " % zlib.crc32(padded) + padded


def decode_record(data: bytes, key: str) -> ObjectInfo:
    """Reads the record of the object `key`. Raises ObjectDamaged when these bytes are not it."""
    body = data[_BODY:]
    if len(data) != RECORD_BYTES or data[:_BODY] != _MAGIC + b"%08x " % zlib.crc32(body):
        raise ObjectDamaged(f"the record of the object {key!r} is damaged", key=key)
    fields = orjson.loads(body)
    if fields["key"] != key:
        raise ObjectDamaged(f"the file of the object {key!r} holds another object", key=key)
    fields["modified_at"] = datetime.fromisoformat(fields["modified_at"])
    return ObjectInfo(**fields)
