"""The writer's side of an index: which rows are alive, and the snapshot that searches get.

Called by one thread at a time; what it publishes is immutable, so searches never wait for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from services.vectord.segments.hot import HotSegment
from services.vectord.segments.metric import Mask, Metric, Rows
from services.vectord.segments.sealed import SealedSegment
from services.vectord.segments.segment import Segment
from services.vectord.segments.snapshot import Part, Snapshot
from services.vectord.segments.storage import StorageType
from services.vectord.tree.items import Batch
from services.vectord.tree.journal import Delete


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What one write changed."""

    added: int = 0
    updated: int = 0
    deleted: int = 0
    missing: int = 0


class Slot:
    """A segment and the life of its rows."""

    def __init__(self, segment: Segment, alive: Mask | None = None) -> None:
        """`alive` says which rows live; None is all of them."""
        self.segment = segment
        self._alive = bytearray(b"\x01" * segment.count) if alive is None else bytearray(alive.tobytes())
        self.dead = self._alive.count(0)
        self._part: Part | None = None

    @property
    def live(self) -> int:
        """Living rows."""
        return len(self._alive) - self.dead

    def row(self, item_id: str) -> int | None:
        """The living row of an id."""
        row = self.segment.row(item_id, self.segment.count)
        return row if row is not None and self._alive[row] else None

    def kill(self, row: int) -> None:
        """Ends the life of a living row."""
        self._alive[row] = 0
        self.dead += 1
        self._part = None

    def grow(self) -> None:
        """Takes up the rows that were appended to the segment."""
        self._alive.extend(b"\x01" * (self.segment.count - len(self._alive)))
        self._part = None

    def alive(self) -> Mask:
        """Which rows live now; the array never changes."""
        return np.frombuffer(bytes(self._alive), dtype=np.bool_)

    def part(self) -> Part:
        """The published form; a new one only when something changed."""
        if self._part is None:
            self._part = Part.of(self.segment, len(self._alive), self.alive() if self.dead else None)
        return self._part


class State:
    """The slots of an index: the hot one, hot ones that are being sealed, and sealed ones."""

    def __init__(
        self, *, dimension: int, metric: Metric, storage: StorageType = "float32", sealed: Sequence[Slot] = ()
    ) -> None:
        """Starts with an empty hot segment before the sealed ones."""
        self._dimension = dimension
        self._metric: Metric = metric
        self._storage: StorageType = storage
        self.hot = HotSegment(dimension=dimension, metric=metric, storage=storage)
        self._hot_slot = Slot(self.hot)
        self.slots: list[Slot] = [self._hot_slot, *sealed]

    def reserve(self, operations: Sequence[Batch | Delete]) -> None:
        """Takes the memory that these writes need. Raises MemoryError, and then nothing has changed."""
        self.hot.reserve(self.hot.count + sum(len(one) for one in operations if isinstance(one, Batch)))

    def apply(self, operation: Batch | Delete) -> Applied:
        """Does one write; what it replaces or deletes dies. Some 2 us an item."""
        return self._put(operation) if isinstance(operation, Batch) else self._delete(operation)

    def _put(self, batch: Batch) -> Applied:
        metadata = []
        updated = 0
        for item_id, given in zip(batch.ids, batch.metadata, strict=True):
            before = self._kill(item_id)
            updated += before is not None
            metadata.append((before or b"") if given is None else given)
        self.hot.append(batch, metadata)
        self._hot_slot.grow()
        return Applied(added=len(batch) - updated, updated=updated)

    def _delete(self, operation: Delete) -> Applied:
        deleted = sum(self._kill(item_id) is not None for item_id in operation.ids)
        return Applied(deleted=deleted, missing=len(operation.ids) - deleted)

    def _kill(self, item_id: str) -> bytes | None:
        """Ends the life of an item; returns its metadata, or None when there is no such item."""
        for slot in self.slots:
            row = slot.row(item_id)
            if row is not None:
                slot.kill(row)
                return slot.segment.metadata[row]
        return None

    def holds(self, item_id: str) -> bool:
        """Whether there is such an item."""
        return any(slot.row(item_id) is not None for slot in self.slots)

    def held(self, ids: Iterable[str]) -> set[str]:
        """Those of some ids that are there."""
        return {item_id for item_id in ids if self.holds(item_id)}

    def snapshot(self) -> Snapshot:
        """The present state, for searches."""
        return Snapshot(self._metric, [slot.part() for slot in self.slots])

    def rotate(self) -> None:
        """Puts an empty hot segment before the present one, which gets no more rows."""
        if self.hot.count:
            self.hot = HotSegment(dimension=self._dimension, metric=self._metric, storage=self._storage)
            self._hot_slot = Slot(self.hot)
            self.slots.insert(0, self._hot_slot)

    def frozen(self) -> list[Slot]:
        """Hot segments that get no more rows."""
        return [slot for slot in self.slots[1:] if isinstance(slot.segment, HotSegment)]

    def sealed(self) -> list[Slot]:
        """Sealed segments."""
        return [slot for slot in self.slots if isinstance(slot.segment, SealedSegment)]

    def replace(self, old: Sequence[tuple[Slot, Rows]], new: SealedSegment | None) -> None:
        """Puts a segment built from rows of others in their place; rows that died meanwhile stay dead."""
        gone = {id(slot) for slot, _ in old}
        self.slots = [slot for slot in self.slots if id(slot) not in gone]
        if new is not None:
            self.slots.append(Slot(new, np.concatenate([slot.alive()[rows] for slot, rows in old])))
