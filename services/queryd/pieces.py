"""How an Arrow stream goes out: in small pieces, and unreadable where it failed (X3)."""

from __future__ import annotations

from collections.abc import Iterator

PIECE_BYTES = 1 << 20


def cut(part: bytes) -> Iterator[bytes]:
    """A part in pieces of at most 1 MiB."""
    for start in range(0, len(part), PIECE_BYTES):
        yield part[start : start + PIECE_BYTES]


def failed_tail(reason: str) -> bytes:
    """What ends an Arrow stream that failed, so that no reader takes it for a whole one (X3).

    A stream may legally end after any batch. This is the head of a message with a mebibyte of
    metadata that never comes; instead the reason follows, for whoever looks at the bytes.
    """
    return b"\xff\xff\xff\xff" + (1 << 20).to_bytes(4, "little") + b"failed: " + reason.encode()
