"""A sealed segment: rows that never change, with a graph over them once there are enough (V3).

Whether a search walks the graph or scans is decided by cost and by what the graph was measured to
find, never by hope: a graph over noise or over thousands of equal vectors can miss most neighbours.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from services.vectord.files import envelope
from services.vectord.segments.admitted import Admitted
from services.vectord.segments.fields import Fields
from services.vectord.segments.kernel import FullKernel, HalfKernel, Kernel
from services.vectord.segments.metric import GATHERED_SHARE, Floats, Metric, Rows
from services.vectord.segments.native import faiss
from services.vectord.segments.storage import Ranges, codes_of, flat_of, is_graph, is_half, ranges_of, storage_of
from services.vectord.tree.items import Norms

GRAPH_ROWS = 4096
"""Rows from which a segment gets a graph; below, a scan is as fast and exact."""

SCAN_PER_CANDIDATE = 64
"""Rows scanned in the time in which a graph search looks at one candidate; measured, see README."""

MEASURED_REACH = 11
"""How many nearest rows the measured number of candidates is good for: one more than the 10 it is measured with."""

EXACT = "exact"
"""The section with the vectors, when the graph is over something coarser."""

_PER_REACH = 2  # more candidates for each further row that is to be found
_TRUSTED = 0.8  # the last of a graph's candidates may have been met by chance
_PROPOSED = 2  # rows that a coarse graph proposes for each one asked for, to be compared exactly

_swig_ptr = faiss.swig_ptr


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
        self._rows: dict[str, int] | None = None
        self._index = _view(contents.index)
        self._graph = is_graph(self._index)
        self.storage = storage_of(self._index)
        # A graph over int8 leads to rows; their vectors, in a section of their own, decide.
        self._coarse = self.storage == "int8"
        self._flat = _view(contents.sections[EXACT]) if self._coarse else flat_of(self._index)
        self._codes = codes_of(self._flat)
        self._kernel = self._made_kernel()
        self._search = self._index.search_c
        self._order: list[int] | None = None

    def _made_kernel(self) -> Kernel:
        if is_half(self.storage):
            return HalfKernel(self.metric, self._codes)
        return FullKernel(self.metric, self._flat.get_xb(), self._index.d)

    @classmethod
    def open(cls, path: Path, *, sha256: str, verify: bool = True) -> SealedSegment:
        """Opens a file; checks it, unless it was just written. Raises DamagedSegment."""
        return cls(envelope.read(path, sha256=sha256 if verify else None), file=path.name, sha256=sha256)

    @property
    def contents(self) -> envelope.Contents:
        """Its file."""
        return self._contents

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
        rows = self._rows
        if rows is None:
            # Made when first asked for: it would be a third of what opening a segment costs.
            # A later row of the same id replaced the earlier one, which is dead.
            self._rows = rows = {known: row for row, known in enumerate(self.ids)}
        return rows.get(item_id)

    def vectors(self, rows: Rows) -> Floats:
        """Copies of some vectors as they are kept."""
        codes = self._codes.take(rows, axis=0)
        return codes.view(np.float16).astype(np.float32) if is_half(self.storage) else codes.view(np.float32)

    def norms(self, rows: Rows) -> Norms:
        """The lengths that some vectors had."""
        return self._contents.norms.take(rows)

    def index_copy(self) -> Any:
        """The FAISS index in memory of its own, which may be added to; a view must never be: FAISS aborts."""
        return faiss.deserialize_index(np.frombuffer(self._contents.index, dtype=np.uint8))

    def ranges(self) -> Ranges:
        """What the graph over int8 was trained for."""
        return ranges_of(self._index)

    def sorted_rows(self) -> list[int]:
        """All rows in the order of their ids; sorted once, when first asked for."""
        if self._order is None:
            self._order = sorted(range(self.count), key=self.ids.__getitem__)
        return self._order

    def nearest(
        self, query: Floats, limit: int, *, count: int, admitted: Admitted | None, ef: int | None, exact: bool
    ) -> Rows:
        """At least the `limit` nearest of the admitted rows, unordered.

        Exact when asked, or when the graph would cost more or finds fewer than there are.
        """
        allowed = count if admitted is None else admitted.count
        if self._graph and not exact:
            candidates = self._candidates(limit * count // allowed, ef)
            if candidates * SCAN_PER_CANDIDATE <= allowed:
                found = self._walk(query, limit, candidates, admitted)
                if found is not None:
                    return found
        return self._scan(query, limit, count, admitted)

    def _walk(self, query: Floats, limit: int, candidates: int, admitted: Admitted | None) -> Rows | None:
        """What the graph finds; None when that is too little to be trusted."""
        if admitted is None:
            found = self._searched(query, self._proposed(limit, candidates), candidates)
            # Fewer than asked for: a graph in pieces, and these are one of them.
            return _present(found) if found[limit - 1] >= 0 else None
        # The walk is not told which rows are admitted: among the nearest of all of them, those that are have
        # been found as well as any. FAISS's selector would return whatever it met on the way as well, and
        # where few of the rows around the query are admitted that is not the nearest.
        found = self._searched(query, candidates, candidates)
        places = np.flatnonzero(admitted.mask[found] & (found >= 0))
        if len(places) < limit or places[limit - 1] > _TRUSTED * candidates:
            return None
        return found[places[: self._proposed(limit, candidates)]]

    def _proposed(self, limit: int, candidates: int) -> int:
        return proposed(limit, candidates) if self._coarse else limit

    def _searched(self, query: Floats, limit: int, candidates: int) -> Rows:
        """The first `limit` of what the graph finds, nearest first, filled up with -1."""
        scores = np.empty(limit, dtype=np.float32)
        found = np.empty(limit, dtype=np.int64)
        self._search(1, _swig_ptr(query), limit, _swig_ptr(scores), _swig_ptr(found), _parameters(candidates))
        return found

    def _scan(self, query: Floats, limit: int, count: int, admitted: Admitted | None) -> Rows:
        if admitted is not None and admitted.count * GATHERED_SHARE <= count:
            return self._kernel.best(query, admitted.rows, limit)
        parameters = None if admitted is None else faiss.SearchParameters(sel=admitted.selector)
        rows: Rows = self._flat.search(query[None], limit, params=parameters)[1][0]
        return rows

    def score(self, query: Floats, rows: Rows) -> tuple[Rows, Floats]:
        """Some rows, in any order, with their scores."""
        return self._kernel.score(query, rows)

    def _candidates(self, reach: int, ef: int | None) -> int:
        """Candidates that a graph search needs to find the `reach` nearest rows."""
        chosen = self.ef_search if ef is None else ef
        return max(reach, chosen + _PER_REACH * max(0, reach - MEASURED_REACH)) if chosen else self.count

    def cost(self, limit: int, ef: int | None, count: int) -> int:
        """Rows that a search over all rows compares with, a scan's row being the unit."""
        if not self._graph:
            return self.count
        return min(self._candidates(limit, ef) * SCAN_PER_CANDIDATE, self.count)


def proposed(limit: int, candidates: int) -> int:
    """How many rows a coarse graph proposes when the `limit` nearest are wanted."""
    return max(limit, min(_PROPOSED * limit, candidates))


def _present(found: Rows) -> Rows:
    return found if found[-1] >= 0 else found[found >= 0]


@lru_cache(maxsize=1024)
def _parameters(candidates: int) -> Any:
    # efSearch must be in the parameters: without it FAISS falls back to 16, whatever the index says. Making
    # them costs 5 us. Nothing ever changes them, so any number of searches share them.
    return faiss.SearchParametersHNSW(efSearch=candidates)


def _view(data: memoryview) -> Any:
    """The FAISS index in mapped memory, without copying it. The memory must outlive the index."""
    array = np.frombuffer(data, dtype=np.uint8)
    return faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(array), array.size))
