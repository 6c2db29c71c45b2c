"""The writer's side of an index on Lance: what is fresh, what the table holds, and which of its rows are dead.

Called by one thread at a time; what it publishes is immutable, so searches never wait for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from services.vectord.files.manifest import Description
from services.vectord.lance.addresses import Addresses
from services.vectord.lance.columns import Columns
from services.vectord.lance.snapshot import TableSnapshot
from services.vectord.lance.view import View
from services.vectord.segments.metric import Rows
from services.vectord.tree.items import Batch
from services.vectord.tree.journal import Delete
from services.vectord.tree.state import Slot, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the table says of some ids; those that are not in it are missing."""

    addresses: Mapping[str, int] = field(default_factory=dict)
    metadata: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What the table lacks: rows of hot segments that get no more, and rows of its own to remove."""

    rows: Sequence[tuple[Slot, Rows]]
    gone: Addresses


class TableState(State):
    """The hot segments, the present version of the table, and the dead in it."""

    def __init__(self, description: Description, *, view: View, columns: Columns) -> None:
        """Starts with nothing fresh."""
        super().__init__(dimension=description.dimension, metric=description.metric)
        self._columns = columns
        self.view = view
        self._known = Known()
        self._dead: dict[str, int] = {}
        self._dead_list: list[int] = []

    @property
    def dead(self) -> int:
        """Rows of the table that were replaced or deleted since its last commit."""
        return len(self._dead)

    def reserve(self, operations: Sequence[Batch | Delete]) -> None:
        """Asks the table what these writes must know, before they are logged. Costs some ms; raises OSError."""
        super().reserve(operations)
        ids = dict.fromkeys(item_id for operation in operations for item_id in operation.ids)
        stored = self.view.locate([item_id for item_id in ids if not super(TableState, self).holds(item_id)])
        keeps = {
            item_id
            for operation in operations
            if isinstance(operation, Batch)
            for item_id, given in zip(operation.ids, operation.metadata, strict=True)
            if given is None and item_id in stored
        }
        self._known = Known(addresses=stored, metadata=self.view.metadata(list(keeps)))

    def _kill(self, item_id: str) -> bytes | None:
        """Ends the life of an item that `reserve` was told of; its metadata is empty where no write asks for it."""
        metadata = super()._kill(item_id)
        if metadata is None and item_id in self._known.addresses and item_id not in self._dead:
            self._bury(item_id, self._known.addresses[item_id])
            metadata = self._known.metadata.get(item_id, b"")
        return metadata

    def _bury(self, item_id: str, address: int) -> None:
        self._dead[item_id] = address
        self._dead_list.append(address)

    def held(self, ids: Iterable[str]) -> set[str]:
        """Those of some ids that are there. Costs a look-up in the table."""
        ids = list(ids)
        fresh = {item_id for item_id in ids if super(TableState, self).holds(item_id)}
        stored = self.view.locate([item_id for item_id in ids if item_id not in fresh])
        return fresh.union(item_id for item_id in stored if item_id not in self._dead)

    def holds(self, item_id: str) -> bool:
        """Whether there is such an item."""
        return bool(self.held([item_id]))

    def snapshot(self) -> TableSnapshot:
        """The present state, for searches."""
        parts = [slot.part() for slot in self.slots]
        return TableSnapshot(self.view.metric, parts, self.view, self._dead_list, self._columns)

    def cut(self) -> Cut:
        """Freezes what is fresh, and says what the table lacks."""
        self.rotate()
        frozen = [(slot, np.flatnonzero(slot.alive())) for slot in self.frozen()]
        return Cut(rows=frozen, gone=np.array(self._dead_list, dtype=np.uint64))

    def swap(self, view: View, done: Cut | None = None) -> None:
        """Goes on with another version of the table, into which `done` was put.

        Costs a look-up of what died since, which has other addresses now.
        """
        since = list(self._dead)
        if done is not None:
            since = since[len(done.gone) :]
            for slot, rows in done.rows:
                alive = slot.alive()
                since += [slot.segment.ids[row] for row in rows.tolist() if not alive[row]]
            self.replace(done.rows, None)
        located = view.locate(list(dict.fromkeys(since)))
        self.view = view
        # New ones: snapshots that were published go on with the old list.
        self._dead, self._dead_list = {}, []
        for item_id, address in located.items():
            self._bury(item_id, address)
