"""The hot segment: fresh items, searched exactly, appended to by one writer while others read.

Readers know a count and look at no row beyond it; rows below a published count never change. So a
search needs no lock, and what an add has published is found by the next search (V3).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.vectord.segments.admitted import Admitted
from services.vectord.segments.fields import Fields
from services.vectord.segments.kernel import FullKernel, HalfKernel
from services.vectord.segments.metric import GATHERED_SHARE, Floats, Metric, Rows, scan
from services.vectord.segments.native import faiss
from services.vectord.segments.storage import StorageType, is_half
from services.vectord.tree.items import Batch, Norms

_FIRST_CAPACITY = 64
_NO_ROW = -1


class HotSegment:
    """Rows in memory, in the order in which they came; the same id may stand in several."""

    def __init__(self, *, dimension: int, metric: Metric, storage: StorageType = "float32") -> None:
        """Makes an empty segment; its vectors are rounded to the storage type already."""
        self.metric = metric
        self._half = is_half(storage)
        self.count = 0
        self.ids: list[str] = []
        self.metadata: list[bytes] = []
        self.fields = Fields(self.metadata)
        self._vectors: Floats = np.empty((_FIRST_CAPACITY, dimension), dtype=np.float32)
        self._norms: Norms = np.empty(_FIRST_CAPACITY, dtype=np.float64)
        self._newest: dict[str, int] = {}
        self._older: list[int] = []

    @property
    def size(self) -> int:
        """Bytes of vectors."""
        return self.count * int(self._vectors.shape[1]) * 4

    def append(self, batch: Batch, metadata: Sequence[bytes]) -> None:
        """Adds rows behind the last one; only the index's writer may call this."""
        end = self.count + len(batch)
        self.reserve(end)
        self._vectors[self.count : end] = batch.vectors
        self._norms[self.count : end] = batch.norms
        self.ids += batch.ids
        self.metadata += metadata
        for row, item_id in enumerate(batch.ids, start=self.count):
            # A reader that meets the new row may have to go on to the one before: link it first.
            self._older.append(self._newest.get(item_id, _NO_ROW))
            self._newest[item_id] = row
        self.count = end

    def reserve(self, capacity: int) -> None:
        """Makes room for that many rows in all; only the index's writer may call this. Raises MemoryError."""
        if capacity <= len(self._vectors):
            return
        capacity = max(capacity, 2 * len(self._vectors))
        # Readers keep the old arrays; the new ones are whole before anyone sees them.
        vectors = np.empty((capacity, self._vectors.shape[1]), dtype=np.float32)
        vectors[: self.count] = self._vectors[: self.count]
        norms = np.empty(capacity, dtype=np.float64)
        norms[: self.count] = self._norms[: self.count]
        self._vectors, self._norms = vectors, norms

    def row(self, item_id: str, count: int) -> int | None:
        """The last of the first `count` rows with this id."""
        row = self._newest.get(item_id, _NO_ROW)
        while row >= count:
            row = self._older[row]
        return None if row == _NO_ROW else row

    def vectors(self, rows: Rows) -> Floats:
        """Copies of some vectors as they are kept."""
        return self._vectors.take(rows, axis=0)

    def norms(self, rows: Rows) -> Norms:
        """The lengths that some vectors had."""
        return self._norms.take(rows)

    def nearest(
        self, query: Floats, limit: int, *, count: int, admitted: Admitted | None, ef: int | None, exact: bool
    ) -> Rows:
        """The `limit` nearest of the admitted rows, unordered; always exact."""
        vectors = self._vectors
        if admitted is None:
            return scan(self.metric, query, vectors, count, limit, None)
        if admitted.count * GATHERED_SHARE <= count:
            return self._full(vectors).best(query, admitted.rows, limit)
        return scan(self.metric, query, vectors, count, limit, admitted.selector)

    def score(self, query: Floats, rows: Rows) -> tuple[Rows, Floats]:
        """Some rows, in any order, with their scores, the same as after they are sealed."""
        vectors = self._vectors
        if not self._half:
            return self._full(vectors).score(query, rows)
        codes = vectors.take(rows, axis=0).astype(np.float16).view(np.uint8)
        places, scores = HalfKernel(self.metric, codes).score(query, np.arange(len(rows)))
        return rows[places], scores

    def _full(self, vectors: Floats) -> FullKernel:
        return FullKernel(self.metric, faiss.swig_ptr(vectors), vectors.shape[1])

    def cost(self, limit: int, ef: int | None, count: int) -> int:
        """Rows that a search compares with."""
        return count
