"""The nearest rows for one query, collected from batches: ascending by distance, ties by id (V4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.vectord.lance.view import Rows
from services.vectord.segments.metric import Floats, Metric, distances, scan, tie_limit

_WIDER = 4

Entry = tuple[float, str, int]
"""Distance, id and address."""


class Ranking:
    """The k nearest so far."""

    def __init__(self, metric: Metric, query: Floats, k: int) -> None:
        """Starts with none."""
        self._metric: Metric = metric
        self._query = query
        self._k = k
        self._entries: list[Entry] = []

    def take(self, rows: Rows) -> None:
        """Looks at every row of a batch."""
        count = len(rows.ids)
        limit = min(self._k + 1, count)
        while True:
            vectors = np.ascontiguousarray(rows.vectors)
            near = scan(self._metric, self._query, vectors, count, limit, None)
            apart = distances(self._metric, self._query, vectors[near])
            # As many as were asked for, all as near as the k-th: others in the batch may be, too.
            if limit == count or apart.max() > tie_limit(self._metric, float(np.sort(apart)[self._k - 1])):
                break
            limit = min(limit * _WIDER, count)
        found = zip(apart.tolist(), near.tolist(), rows.addresses[near].tolist(), strict=True)
        self._merge([(distance, rows.ids[row], address) for distance, row, address in found])

    def take_all(self, rows: Rows) -> bool:
        """Takes rows that a search found; returns whether it may have cut a tie at the k-th place."""
        apart = distances(self._metric, self._query, rows.vectors).tolist()
        self._merge(list(zip(apart, rows.ids, rows.addresses.tolist(), strict=True)))
        if len(apart) <= self._k:
            return False
        return bool(max(apart) <= tie_limit(self._metric, self._entries[self._k - 1][0]))

    def _merge(self, entries: Sequence[Entry]) -> None:
        # An id is there once, so addresses are never compared.
        self._entries = sorted([*self._entries, *entries])[: self._k]

    @property
    def entries(self) -> list[Entry]:
        """The nearest."""
        return self._entries
