"""One state of an index and the searches on it. Immutable: a search needs no lock and sees no change."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from services.vectord import filters
from services.vectord.fields import Fields
from services.vectord.filters import Filter
from services.vectord.metric import Floats, Mask, Metric, Rows, distances, tie_limit
from services.vectord.native import faiss
from services.vectord.sealed import SealedSegment
from services.vectord.segment import Segment

_WIDER = 4  # times as many items are fetched when a tie was cut
_GATHERED_FLOATS = 1 << 22  # copied together at most when distances are computed


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """How many items a search returns, and which ones it may."""

    k: int
    filter: Filter | None = None
    exclude_ids: Sequence[str] = ()
    only_ids: Sequence[str] | None = None
    """Only these items; None is all."""
    ef: int | None = None
    """Candidates in each graph; None is what each graph was measured to need."""
    exact: bool = False
    with_vectors: bool = False

    @property
    def selective(self) -> bool:
        """Whether only some items may be returned."""
        return self.filter is not None or self.only_ids is not None

    @property
    def narrowed(self) -> bool:
        """Whether some living items may not be returned."""
        return self.selective or bool(self.exclude_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Items, column by column. `vectors` have their original lengths; None when not asked for."""

    ids: list[str]
    metadata: list[bytes]
    vectors: Floats | None
    distances: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The first `count` rows of a segment, and which of them are alive (None: all)."""

    segment: Segment
    count: int
    alive: Mask | None
    live: int
    selector: Any | None

    @classmethod
    def of(cls, segment: Segment, count: int, alive: Mask | None) -> Part:
        """A part; `alive` has `count` elements and must never change."""
        if alive is None:
            return cls(segment, count, None, count, None)
        return cls(segment, count, alive, int(np.count_nonzero(alive)), _selector(alive))

    def row(self, item_id: str) -> int | None:
        """The living row of an id."""
        row = self.segment.row(item_id, self.count)
        return row if row is not None and (self.alive is None or self.alive[row]) else None

    def live_rows(self) -> Rows:
        """All living rows."""
        return np.arange(self.count) if self.alive is None else np.flatnonzero(self.alive)

    def allowed(self, query: Query) -> Mask:
        """The living rows that a query admits."""
        mask = np.ones(self.count, dtype=np.bool_) if self.alive is None else self.alive.copy()
        if query.only_ids is not None:
            mask &= self._mask(query.only_ids)
        if query.exclude_ids:
            mask &= ~self._mask(query.exclude_ids)
        if query.filter is not None and mask.any():
            mask &= filters.passing(query.filter, self.segment.fields, self.count)
        return mask

    def _mask(self, ids: Iterable[str]) -> Mask:
        mask = np.zeros(self.count, dtype=np.bool_)
        mask[[row for item_id in ids if (row := self.segment.row(item_id, self.count)) is not None]] = True
        return mask

    def page(self, after: str, limit: int) -> list[tuple[str, Part, int]]:
        """The first `limit` living items whose id comes after `after`, in the order of their ids."""
        ids, segment = self.segment.ids, self.segment
        order = segment.sorted_rows() if isinstance(segment, SealedSegment) else self._sorted()
        page: list[tuple[str, Part, int]] = []
        for position in range(bisect_right(order, after, key=ids.__getitem__), len(order)):
            row = order[position]
            if self.alive is None or self.alive[row]:
                page.append((ids[row], self, row))
                if len(page) == limit:
                    break
        return page

    def _sorted(self) -> list[int]:
        return sorted(self.live_rows().tolist(), key=self.segment.ids.__getitem__)


@dataclass(frozen=True, slots=True)
class _Target:
    """A part with what one query may return of it."""

    part: Part
    allowed: int
    selector: Any | None

    def nearest(self, vector: Floats, query: Query, limit: int) -> Rows:
        part = self.part
        return part.segment.nearest(
            vector,
            min(limit, self.allowed),
            count=part.count,
            allowed=self.allowed,
            selector=self.selector,
            ef=query.ef,
            # The items of a filter may lie where a graph does not lead.
            exact=query.exact or (query.selective and self.allowed < part.live),
        )


class Snapshot:
    """The parts of an index at one moment; an id is alive in at most one of them."""

    def __init__(self, metric: Metric, parts: Sequence[Part]) -> None:
        """Takes parts that never change."""
        self.metric: Metric = metric
        self.parts = tuple(parts)
        self.count = sum(part.live for part in self.parts)
        self._targets = [_Target(part, part.live, part.selector) for part in self.parts if part.live]

    def search(self, vectors: Floats, query: Query) -> list[Found]:
        """For each vector the k nearest items that the query admits, ascending, ties by id (V4).

        There are k of them whenever k items are admitted. The vectors have shape (n, dimension) and are
        in the metric's form. Each costs what `cost` says, and with a filter a scan of what passes it.
        """
        targets = self._narrowed(query) if query.narrowed else self._targets
        return [self._search(vector, query, targets) for vector in vectors]

    def _search(self, vector: Floats, query: Query, targets: Sequence[_Target]) -> Found:
        # One more than asked for shows whether a tie is cut.
        limits = [query.k + 1] * len(targets)
        rows = [target.nearest(vector, query, query.k + 1) for target in targets]
        while True:
            ranking = _Ranking(self.metric, vector, targets, rows)
            cut = ranking.cut_ties(query.k)
            if not cut:
                return ranking.best(query.k, with_vectors=query.with_vectors)
            for place in cut:
                limits[place] *= _WIDER
                rows[place] = targets[place].nearest(vector, query, limits[place])

    def _narrowed(self, query: Query) -> list[_Target]:
        targets = []
        for part in self.parts:
            mask = part.allowed(query)
            if allowed := int(np.count_nonzero(mask)):
                targets.append(_Target(part, allowed, None if allowed == part.count else _selector(mask)))
        return targets

    def cost(self, query: Query, dimension: int) -> int:
        """Numbers that the search of one vector compares when no filter is given: some 15 in a nanosecond."""
        rows = sum(
            part.count if query.exact else part.segment.cost(query.k + 1, query.ef, part.count) for part in self.parts
        )
        return (rows + query.k * len(self.parts)) * dimension

    def get(self, ids: Sequence[str], *, condition: Filter | None, with_vectors: bool) -> Found:
        """Items by id, in the order of the ids; those that are not there or do not pass are left out."""
        places = [place for item_id in ids if (place := self._place(item_id)) is not None]
        if condition is not None:
            fields = Fields([part.segment.metadata[row] for part, row in places])
            passing = filters.passing(condition, fields, len(places))
            places = [place for place, passes in zip(places, passing, strict=True) if passes]
        return _collect(places, with_vectors)

    def _place(self, item_id: str) -> tuple[Part, int] | None:
        for part in self.parts:
            row = part.row(item_id)
            if row is not None:
                return part, row
        return None

    def page(self, after: str, limit: int, *, with_vectors: bool) -> tuple[Found, bool]:
        """The first `limit` items whose ids come after `after`, and whether more follow.

        The first page after a seal sorts the sealed ids; every page sorts the hot ones.
        """
        merged = sorted((entry for part in self.parts for entry in part.page(after, limit + 1)), key=lambda e: e[0])
        places = [(part, row) for _, part, row in merged[:limit]]
        return _collect(places, with_vectors), len(merged) > limit


class _Ranking:
    """What the targets found for a vector, in order."""

    def __init__(self, metric: Metric, vector: Floats, targets: Sequence[_Target], rows: Sequence[Rows]) -> None:
        self._metric = metric
        self._vector = vector
        self._targets = targets
        self._rows = rows
        self._worst: list[float] = []
        self._entries: list[tuple[float, str, Part, int]] = []
        for target, found in zip(targets, rows, strict=True):
            self._add(target.part, found)
        # An id is alive once, so no two entries agree in distance and id, and parts are never compared.
        self._entries.sort()

    def _add(self, part: Part, found: Rows) -> None:
        apart = _distances(self._metric, self._vector, part.segment, found)
        self._worst.append(max(apart))
        ids = part.segment.ids
        self._entries += [(distance, ids[row], part, row) for distance, row in zip(apart, found.tolist(), strict=True)]

    def cut_ties(self, k: int) -> list[int]:
        """The targets that may have more items as near as the k-th than they were asked for."""
        if len(self._entries) <= k:
            return []
        limit = tie_limit(self._metric, self._entries[k - 1][0])
        return [
            place
            for place, (target, found) in enumerate(zip(self._targets, self._rows, strict=True))
            if len(found) < target.allowed and self._worst[place] <= limit
        ]

    def best(self, k: int, *, with_vectors: bool) -> Found:
        """The first k."""
        hits = self._entries[:k]
        return Found(
            ids=[item_id for _, item_id, _, _ in hits],
            metadata=[part.segment.metadata[row] for _, _, part, row in hits],
            vectors=_vectors([(part, row) for _, _, part, row in hits]) if with_vectors else None,
            distances=[distance for distance, _, _, _ in hits],
        )


def _distances(metric: Metric, vector: Floats, segment: Segment, rows: Rows) -> list[float]:
    step = max(1, _GATHERED_FLOATS // len(vector))
    if len(rows) <= step:
        apart: list[float] = distances(metric, vector, segment.vectors(rows)).tolist()
        return apart
    pieces = (rows[begin : begin + step] for begin in range(0, len(rows), step))
    return [distance for piece in pieces for distance in _distances(metric, vector, segment, piece)]


def _collect(places: Sequence[tuple[Part, int]], with_vectors: bool) -> Found:
    return Found(
        ids=[part.segment.ids[row] for part, row in places],
        metadata=[part.segment.metadata[row] for part, row in places],
        vectors=_vectors(places) if with_vectors else None,
    )


def _vectors(places: Sequence[tuple[Part, int]]) -> Floats:
    """The vectors in these places, as long as they were when they came."""
    by_part: dict[Part, list[int]] = {}
    for position, (part, _) in enumerate(places):
        by_part.setdefault(part, []).append(position)
    vectors: list[Floats] = [np.empty(0, dtype=np.float32)] * len(places)
    for part, positions in by_part.items():
        rows = np.array([places[position][1] for position in positions])
        given = part.segment.vectors(rows) * part.segment.norms(rows)[:, None]
        for position, vector in zip(positions, given.astype(np.float32), strict=True):
            vectors[position] = vector
    return np.array(vectors, dtype=np.float32)


def _selector(mask: Mask) -> Any:
    return faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
