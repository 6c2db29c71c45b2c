"""The seam between storaged and what holds the bytes: plain values and three small protocols.

Everything here blocks and is called from worker threads. A back end is trusted to be atomic: an
object appears whole, with all that is known of it, or not at all (S2, X11).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

PIECE_BYTES = 1 << 20
"""How many bytes move between a back end and a caller at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """What is known of one object; `sha256` is lower-case hexadecimal, empty when it cannot be read."""

    key: str
    size: int
    sha256: str
    content_type: str
    modified_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What an upload left: the object, and whether its key was new."""

    info: ObjectInfo
    created: bool


class Sink(Protocol):
    """An upload under way. Nothing of it can be seen before `commit` returns."""

    def write(self, data: bytes) -> None:
        """Takes the next bytes, of any number. Raises StorageFull."""

    def commit(self, *, sha256: str, create_only: bool) -> Stored:
        """Makes the object visible and durable in one step. Raises ObjectExists, BucketNotFound."""

    def discard(self) -> None:
        """Removes whatever was written; does nothing after a commit."""


class Source(Protocol):
    """One object, opened: it keeps its bytes even when the key is overwritten or deleted meanwhile."""

    @property
    def info(self) -> ObjectInfo:
        """What is known of the object."""

    def stream(self, offset: int, length: int) -> Iterator[bytes]:
        """Yields that range of the object in pieces of 1 to PIECE_BYTES bytes; ends early when some are missing."""

    def close(self) -> None:
        """Lets go of the object."""


class ObjectStore(Protocol):
    """The objects of one bucket. Keys were checked (S3)."""

    def begin(self, key: str, *, content_type: str, size: int | None) -> Sink:
        """Starts an upload; `size` is the number of bytes to come, where that is known."""

    def open(self, key: str) -> Source:
        """Opens an object. Raises ObjectNotFound, ObjectDamaged."""

    def stat(self, key: str) -> ObjectInfo:
        """Returns what is known of an object. Raises ObjectNotFound, ObjectDamaged."""

    def list(self, prefix: str, *, after: str, limit: int) -> list[ObjectInfo]:
        """Returns the first objects under a prefix behind the key `after`, in the order of the keys' bytes."""

    def delete(self, key: str) -> bool:
        """Deletes an object durably; returns whether it was there."""

    def destroy(self) -> None:
        """Gives up the bucket for good. Raises BucketNotEmpty."""


class Backend(Protocol):
    """Something that can hold buckets."""

    def open_bucket(self, name: str) -> ObjectStore:
        """Returns the store of a bucket, making its place when there is none."""
