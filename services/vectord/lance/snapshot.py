"""One state of an index on Lance: fresh items in memory, the rest in one version of the table.

An id is alive in one of both. Every distance comes from the one kernel in metric.py, so what memory and
table found can be merged, and an item keeps its distance when it moves into the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from services.vectord.lance.addresses import Addresses, Offsets, split
from services.vectord.lance.columns import Columns
from services.vectord.lance.ranking import Entry, Ranking
from services.vectord.lance.view import Rows as Stored
from services.vectord.lance.view import Selection, View
from services.vectord.segments import filters
from services.vectord.segments.fields import Fields
from services.vectord.segments.filters import Filter
from services.vectord.segments.metric import Floats, Mask, Metric, Rows
from services.vectord.segments.snapshot import Found, Part, Query, Snapshot

CANDIDATES = 10
"""Rows, for each one asked for, that the index proposes and whose exact distances decide."""
_SCANNED_FLOATS = 1 << 21
"""Numbers in the vectors that pass a filter up to which they are compared rather than searched."""
_WIDER = 4
_WIDEST = 1 << 14


class TableSnapshot(Snapshot):
    """Safe from any number of threads. What it inherits are the fresh items."""

    def __init__(self, metric: Metric, hot: Sequence[Part], view: View, dead: Sequence[int], columns: Columns) -> None:
        """`dead` are addresses of replaced and deleted rows; only as many as there are now count."""
        super().__init__(metric, hot)
        self.view = view
        self._dead_list = dead
        self._dead_count = len(dead)
        self._columns = columns
        self.hot_count = self.count
        self.count += view.count - self._dead_count

    @cached_property
    def dead(self) -> Addresses:
        """Rows of the table that are replaced or deleted."""
        return np.array(self._dead_list[: self._dead_count], dtype=np.uint64)

    def _hidden(self, addresses: Addresses) -> Mask:
        return np.isin(addresses, self.dead)

    def search(self, vectors: Floats, query: Query) -> list[Found]:
        """For each vector the k nearest items that the query admits, ascending, ties by id.

        Costs a scan of the fresh items, and of the table one of: some ms through its index; a scan of what
        passes a narrow filter; a scan of all its vectors when asked for, or while there is no index.
        """
        fresh = super().search(vectors, query)
        stored = self._stored(vectors, query)
        return [self._merged(ours, theirs, query) for ours, theirs in zip(fresh, stored, strict=True)]

    def _merged(self, fresh: Found, stored: list[Entry], query: Query) -> Found:
        if not stored:
            return fresh
        ours = [(distance, item_id, -1) for distance, item_id in zip(fresh.distances, fresh.ids, strict=True)]
        best = sorted([*ours, *stored])[: query.k]
        places = np.array([address for _, _, address in best if address >= 0], dtype=np.uint64)
        rows = self.view.at(places, with_vectors=query.with_vectors)
        return _assembled(fresh, rows, [item_id for _, item_id, _ in best], [distance for distance, _, _ in best])

    def _stored(self, vectors: Floats, query: Query) -> list[list[Entry]]:
        selection = self._selection(query)
        # With a filter this may count rows that were deleted, too.
        most = self.view.count - len(selection.blocked) if selection.most is None else selection.most
        if most <= 0:
            return [[] for _ in vectors]
        approximation = self.view.approximation
        narrow = selection.allowed is not None and most * self.view.dimension <= _SCANNED_FLOATS
        if query.exact or narrow or approximation is None or not approximation.probes:
            return self._scanned(vectors, query, selection)
        # The fewer pass, the more partitions have to be looked into for as many.
        probes = min(approximation.partitions, max(1, approximation.probes * self.view.count // most))
        return [self._approximate(vector, query, selection, probes, most) for vector in vectors]

    def _scanned(self, vectors: Floats, query: Query, selection: Selection) -> list[list[Entry]]:
        rankings = [Ranking(self.view.metric, vector, query.k) for vector in vectors]
        for rows in self.view.scan(selection):
            for ranking in rankings:
                ranking.take(rows)
        return [ranking.entries for ranking in rankings]

    def _approximate(self, vector: Floats, query: Query, selection: Selection, probes: int, most: int) -> list[Entry]:
        # One more than asked for shows whether a tie is cut.
        limit = query.k + 1
        while limit <= max(_WIDEST, _WIDER * query.k):
            refine = max(1, -(-query.ef // limit)) if query.ef is not None else CANDIDATES
            rows = self.view.nearest(vector, limit, selection, probes=probes, refine=refine)
            if len(rows.ids) < min(limit, most):
                break
            ranking = Ranking(self.view.metric, vector, query.k)
            if not ranking.take_all(rows) or len(rows.ids) == most:
                return ranking.entries
            limit *= _WIDER
        # The index gave fewer than there are, or nothing but ties: then every row is looked at.
        return self._scanned(vector[None], query, selection)[0]

    def _selection(self, query: Query) -> Selection:
        blocked = self.dead
        if query.exclude_ids:
            excluded = list(self.view.locate(query.exclude_ids).values())
            blocked = np.union1d(blocked, np.array(excluded, dtype=np.uint64))
        if query.only_ids is not None:
            return Selection(allowed=self._allowed(query.only_ids, query.filter), blocked=blocked)
        if query.filter is not None:
            return Selection(allowed=self._columns.passing(query.filter, self.view), blocked=blocked)
        return Selection(blocked=blocked)

    def _allowed(self, ids: Sequence[str], condition: Filter | None) -> dict[int, Offsets]:
        distinct = list(dict.fromkeys(ids))
        if condition is None:
            return split(np.array(list(self.view.locate(distinct).values()), dtype=np.uint64))
        rows = self.view.read(distinct, with_vectors=False)
        return split(rows.addresses[filters.passing(condition, Fields(rows.metadata), len(rows.ids))])

    def get(self, ids: Sequence[str], *, condition: Filter | None, with_vectors: bool) -> Found:
        """Items by id, in the order of the ids; those that are not there or do not pass are left out."""
        fresh = super().get(ids, condition=condition, with_vectors=with_vectors)
        here = set(fresh.ids)
        others = [item_id for item_id in dict.fromkeys(ids) if item_id not in here]
        rows = self._alive(self.view.read(others, with_vectors=with_vectors))
        if condition is not None:
            rows = _chosen(rows, filters.passing(condition, Fields(rows.metadata), len(rows.ids)))
        known = here.union(rows.ids)
        return _assembled(fresh, rows, [item_id for item_id in ids if item_id in known], [])

    def _alive(self, rows: Stored) -> Stored:
        return _chosen(rows, ~self._hidden(rows.addresses)) if self._dead_count else rows

    def some_vectors(self, places: Rows) -> Floats:
        """See Snapshot; among them may be some of items that were replaced."""
        fresh, stored = places[places < self.hot_count], places[places >= self.hot_count] - self.hot_count
        vectors = [super().some_vectors(fresh)] if len(fresh) else []
        return np.concatenate([*vectors, self.view.vectors_at(stored)] if len(stored) else vectors)

    def page(self, after: str, limit: int, *, with_vectors: bool) -> tuple[Found, bool]:
        """The first `limit` items whose ids come after `after`, and whether more follow."""
        fresh, more = super().page(after, limit + 1, with_vectors=with_vectors)
        stored = self.view.ids_after(after, limit + 1, self._hidden) if self.view.count else []
        ids = sorted([*fresh.ids, *stored[: limit + 1]])
        page = ids[:limit]
        here = set(fresh.ids)
        rows = self.view.read([item_id for item_id in page if item_id not in here], with_vectors=with_vectors)
        return _assembled(fresh, rows, page, []), more or len(ids) > limit


def _chosen(rows: Stored, mask: Mask) -> Stored:
    places = np.flatnonzero(mask)
    if len(places) == len(rows.ids):
        return rows
    return Stored(
        ids=[rows.ids[place] for place in places],
        addresses=rows.addresses[places],
        vectors=rows.vectors[places] if len(rows.vectors) else rows.vectors,
        norms=rows.norms[places] if len(rows.norms) else rows.norms,
        metadata=[rows.metadata[place] for place in places],
    )


def _assembled(fresh: Found, rows: Stored, ids: Sequence[str], distances: list[float]) -> Found:
    """Items in the order of `ids`, each from where it was found."""
    ours = {item_id: place for place, item_id in enumerate(fresh.ids)}
    theirs = {item_id: place for place, item_id in enumerate(rows.ids)}
    metadata = [fresh.metadata[ours[item_id]] if item_id in ours else rows.metadata[theirs[item_id]] for item_id in ids]
    vectors = None
    if fresh.vectors is not None:
        stored = rows.vectors * rows.norms[:, None] if len(rows.ids) else rows.vectors
        dimension = fresh.vectors.shape[1] if len(fresh.ids) else rows.vectors.shape[1]
        vectors = np.empty((len(ids), dimension), dtype=np.float32)
        for place, item_id in enumerate(ids):
            vectors[place] = fresh.vectors[ours[item_id]] if item_id in ours else stored[theirs[item_id]]
    return Found(ids=list(ids), metadata=metadata, vectors=vectors, distances=distances)
