"""A sealed segment: rows that never change, with a graph over them once there are enough (V3).

Whether a search walks the graph or scans is decided by cost and by what the graph was measured to
find, never by hope: a graph over noise or over thousands of equal vectors can miss most neighbours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from services.vectord import envelope
from services.vectord.fields import Fields
from services.vectord.items import Norms
from services.vectord.metric import Floats, Metric, Rows
from services.vectord.native import faiss

GRAPH_ROWS = 4096
"""Rows from which a segment gets a graph; below, a scan is as fast and exact."""

SCAN_PER_CANDIDATE = 64
"""Rows scanned in the time in which a graph search looks at one candidate; measured, see README."""


class SealedSegment:
    """An open segment file. Safe from any number of threads: nothing in it changes."""

    def __init__(self, contents: envelope.Contents, *, file: str, sha256: str) -> None:
        """Wraps mapped contents; FAISS reads the vectors where they lie."""
        self.file = file
        self.sha256 = sha256
        self._contents = contents
        self.metric: Metric = contents.envelope.metric
        self.ids = contents.envelope.ids
        self.count = len(self.ids)
        self.metadata = contents.metadata
        self.fields = Fields(self.metadata)
        # A later row of the same id replaced the earlier one, which is dead.
        self._rows = {item_id: row for row, item_id in enumerate(self.ids)}
        self._index = _view(contents.index)
        self._graph = isinstance(self._index, faiss.IndexHNSW)
        self._flat = faiss.downcast_index(self._index.storage) if self._graph else self._index
        # As bytes: in the file the numbers may stand at any offset, and of unaligned floats numpy copies all.
        flat: Floats = faiss.rev_swig_ptr(self._flat.get_xb(), self.count * self._index.d)
        self._vectors = flat.view(np.uint8).reshape(self.count, self._index.d * flat.itemsize)
        self._order: list[int] | None = None
        self._last: Any | None = None

    @classmethod
    def open(cls, path: Path, *, sha256: str, verify: bool = True) -> SealedSegment:
        """Opens a file; checks it, unless it was just written. Raises DamagedSegment."""
        return cls(envelope.read(path, sha256=sha256 if verify else None), file=path.name, sha256=sha256)

    @property
    def has_graph(self) -> bool:
        """Whether there is a graph over the rows."""
        return self._graph

    @property
    def ef_search(self) -> int:
        """Candidates that the graph was measured to need; 0 when a scan is cheaper."""
        return self._contents.envelope.ef_search

    def row(self, item_id: str, count: int) -> int | None:
        """The row of an id, alive or dead."""
        return self._rows.get(item_id)

    def vectors(self, rows: Rows) -> Floats:
        """Copies of some vectors as they are kept."""
        return self._vectors.take(rows, axis=0).view(np.float32)

    def norms(self, rows: Rows) -> Norms:
        """The lengths that some vectors had."""
        return self._contents.norms.take(rows)

    def index_copy(self) -> Any:
        """The FAISS index in memory of its own, which may be added to; a view must never be: FAISS aborts."""
        return faiss.deserialize_index(np.frombuffer(self._contents.index, dtype=np.uint8))

    def sorted_rows(self) -> list[int]:
        """All rows in the order of their ids; sorted once, when first asked for."""
        if self._order is None:
            self._order = sorted(range(self.count), key=self.ids.__getitem__)
        return self._order

    def nearest(
        self, query: Floats, limit: int, *, count: int, allowed: int, selector: Any | None, ef: int | None, exact: bool
    ) -> Rows:
        """The `limit` nearest of the `allowed` rows that `selector` lets through, unordered.

        Exact when asked, or when the graph would cost more or find fewer than there are.
        """
        candidates = self._candidates(limit, ef) * count // allowed
        if not exact and self._worthwhile(candidates):
            found = self._walk(query, candidates, selector)
            # Fewer than half may be returned: around this query too many are not, and the graph has seen
            # too little. (Without a selector this is a graph in pieces.)
            if len(found) >= max(limit, candidates // 2):
                return found[:limit]
        parameters = faiss.SearchParameters(sel=selector) if selector is not None else None
        rows: Rows = self._flat.search(query[None], limit, params=parameters)[1][0]
        return rows

    def _walk(self, query: Floats, candidates: int, selector: Any | None) -> Rows:
        # efSearch must be in the parameters: without it FAISS falls back to 16, whatever the index says.
        # bounded_queue stays on: without it FAISS ignores the selector.
        parameters = self._parameters(candidates, selector)
        rows: Rows = self._index.search(query[None], candidates, params=parameters)[1][0]
        return rows if rows[-1] >= 0 else rows[rows >= 0]

    def _parameters(self, candidates: int, selector: Any | None) -> Any:
        # Making them costs 5 us, so those of the last search are kept; whoever replaces them harms no one.
        if selector is not None:
            return faiss.SearchParametersHNSW(efSearch=candidates, sel=selector)
        last = self._last
        if last is None or last.efSearch != candidates:
            self._last = last = faiss.SearchParametersHNSW(efSearch=candidates)
        return last

    def _candidates(self, limit: int, ef: int | None) -> int:
        chosen = self.ef_search if ef is None else ef
        return max(chosen, limit) if chosen else self.count

    def _worthwhile(self, candidates: int) -> bool:
        return self._graph and candidates * SCAN_PER_CANDIDATE <= self.count

    def cost(self, limit: int, ef: int | None, count: int) -> int:
        """Rows that a search over all rows compares with, a scan's row being the unit."""
        candidates = self._candidates(limit, ef)
        return candidates * SCAN_PER_CANDIDATE if self._worthwhile(candidates) else self.count


def _view(data: memoryview) -> Any:
    """The FAISS index in mapped memory, without copying it. The memory must outlive the index."""
    array = np.frombuffer(data, dtype=np.uint8)
    return faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(array), array.size))
