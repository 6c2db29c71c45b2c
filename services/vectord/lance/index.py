"""An index whose items live in a Lance table: the same log, the same hot segment, another place to seal to (V1-V6).

A write costs a look-up of its ids in the table more than in memory. The memory the index takes does not
grow with its items, but for some 40 bytes an item for each field that filters name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from services.vectord.config import VectorConfig
from services.vectord.errors import BackendHasNoExport, IndexNotFound
from services.vectord.files.exporting import Export
from services.vectord.files.manifest import Description
from services.vectord.lance.core import TableCore
from services.vectord.lance.readers import Readers
from services.vectord.lance.upkeep import TableUpkeep
from services.vectord.segments.filters import Filter
from services.vectord.segments.metric import Floats
from services.vectord.segments.snapshot import Found, Query
from services.vectord.tree import plan
from services.vectord.tree.engine import Checked, Chore, Info, Stop, never
from services.vectord.tree.index import Index
from services.vectord.tree.state import Applied


class LanceIndex(Index):
    """Safe from any number of threads: one writes at a time, searches never wait."""

    has_graphs = False
    _core: TableCore

    def __init__(self, core: TableCore) -> None:
        """Use `make` or `load`."""
        super().__init__(core)
        self._table_upkeep = TableUpkeep(core)
        self._readers = Readers()

    @classmethod
    def make(
        cls, path: Path, description: Description, config: VectorConfig, extra: Mapping[str, Any] | None = None
    ) -> LanceIndex:
        """Makes an empty index that survives from now on; `extra` is kept with it. Raises IndexLocked."""
        return cls(TableCore.make(path, description, config, extra))

    @classmethod
    def load(cls, path: Path, config: VectorConfig) -> LanceIndex:
        """Opens an index. Raises DamagedManifest, IndexLocked when another engine writes it.

        Costs some 10 ms, and a look-up of what is logged, however many items the table has.
        """
        return cls(TableCore.load(path, config))

    def search(self, vectors: Sequence[Floats], query: Query, names: Sequence[str]) -> list[Found]:
        """See Index; costs what TableSnapshot.search says."""
        with self._readers.reading() as reading:
            if reading:
                return super().search(vectors, query, names)
        return self._next().search(vectors, query, names)

    def get(self, ids: Sequence[str], *, condition: Filter | None = None, with_vectors: bool = True) -> Found:
        """See Index; some 1 ms for one, 10 ms for 1,000."""
        with self._readers.reading() as reading:
            if reading:
                return super().get(ids, condition=condition, with_vectors=with_vectors)
        return self._next().get(ids, condition=condition, with_vectors=with_vectors)

    def page(self, after: str, limit: int, *, with_vectors: bool = False) -> tuple[Found, bool]:
        """See Index; some 10 ms, and a read of all ids for the first page."""
        with self._readers.reading() as reading:
            if reading:
                return super().page(after, limit, with_vectors=with_vectors)
        return self._next().page(after, limit, with_vectors=with_vectors)

    def delete_unchanged(self, seen: Found) -> Applied:
        """See Index."""
        with self._readers.reading() as reading:
            if reading:
                return super().delete_unchanged(seen)
        return self._next().delete_unchanged(seen)

    def _next(self) -> Index:
        """What took its place. Raises IndexNotFound."""
        if self.successor is None:
            name = self.description.name
            raise IndexNotFound(f"the index {name!r} was deleted", name=name)
        return self.successor

    @property
    def immediate(self) -> bool:
        """Whether items are read without a look at the disk."""
        return not self._core.state.view.count

    def quick(self, query: Query, vectors: int = 1) -> bool:
        """Whether a search is bounded by 1 ms: never, while there is a table to read."""
        return not self._core.state.view.count and super().quick(query, vectors)

    def info(self) -> Info:
        """What is known of the index; a walk over its files."""
        core = self._core
        slots, view, snapshot = list(core.state.slots), core.state.view, core.snapshot
        removed = sum(piece.deleted for piece in view.pieces)
        return Info(
            description=core.description,
            count=snapshot.count,
            hot_count=sum(slot.live for slot in slots),
            segments=len(view.pieces),
            tombstones=removed + core.state.dead + sum(slot.dead for slot in slots),
            updated_ns=core.updated_ns,
            size=_size(self.path),
            problems=tuple(self._problems()),
            checked=self._checks.last,
        )

    @property
    def busy(self) -> bool:
        """Whether writers should wait, because the table cannot keep up."""
        return self._table_upkeep.behind

    def chores(self) -> list[Chore]:
        """What should be done in the background now; recall is measured whenever the table's index is trained."""
        return self._table_upkeep.chores()

    def check_recall(self, *, k: int = 10, sample: int = 100, stop: Stop = never) -> Checked | None:
        """See Index."""
        with self._readers.reading() as reading:
            if reading:
                return super().check_recall(k=k, sample=sample, stop=lambda: self.gone or stop())
        return self._next().check_recall(k=k, sample=sample, stop=stop)

    def seal(self, *, stop: Stop = never) -> None:
        """See TableUpkeep."""
        self._table_upkeep.seal(stop=stop)

    def compact(self, growth: int = plan.BUSY, *, stop: Stop = never, fresh: bool = False) -> None:
        """Seals, then does what is due; everything, when `fresh`. Raises OSError."""
        self._table_upkeep.seal(stop=stop)
        self._table_upkeep.tidy(stop=stop, fresh=fresh)

    def export(self) -> Export:
        """Raises BackendHasNoExport."""
        raise BackendHasNoExport(f"the index {self.description.name!r} is on Lance: migrate it to memory to export it")

    def retire(self) -> int:
        """Ends all writing and waits for searches, whose files go; returns how many items it held."""
        count = super().retire()
        self._readers.close()
        self._table_upkeep.end()
        return count

    def close(self) -> None:
        """Closes the log and lets another engine write; every acknowledged write is on disk already."""
        super().close()
        self._table_upkeep.end()


def _size(path: Path) -> int:
    size = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                size += os.stat(os.path.join(folder, name)).st_size
            except FileNotFoundError:  # replaced meanwhile
                continue
    return size
