"""One state of an index and the searches on it. Immutable: a search needs no lock and sees no change."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat

import numpy as np

from services.vectord.segments import filters
from services.vectord.segments.admitted import Admitted
from services.vectord.segments.fields import Fields
from services.vectord.segments.filters import Filter
from services.vectord.segments.metric import Floats, Mask, Metric, Rows, as_distances, tie_limit
from services.vectord.segments.sealed import SealedSegment
from services.vectord.segments.segment import Segment

_WIDER = 4  # times as many items are fetched when a tie was cut


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
    admitted: Admitted | None

    @classmethod
    def of(cls, segment: Segment, count: int, alive: Mask | None) -> Part:
        """A part; `alive` has `count` elements and must never change."""
        if alive is None:
            return cls(segment, count, None, count, None)
        admitted = Admitted(alive)
        return cls(segment, count, alive, admitted.count, admitted)

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


_Entry = tuple[float, str, int, int]
"""Distance, id, place of the target, row. An id is alive once, so what follows it is never compared."""


@dataclass(frozen=True, slots=True)
class _Target:
    """A part with what one query may return of it."""

    part: Part
    allowed: int
    admitted: Admitted | None

    def entries(self, vector: Floats, query: Query, limit: int, place: int) -> list[_Entry]:
        """At least the `limit` nearest, ascending."""
        part = self.part
        segment = part.segment
        rows = segment.nearest(
            vector,
            limit if limit < self.allowed else self.allowed,
            count=part.count,
            admitted=self.admitted,
            ef=query.ef,
            exact=query.exact,
        )
        rows, scores = segment.score(vector, rows)
        found = rows.tolist()
        ids = segment.ids
        apart = as_distances(segment.metric, scores)
        return sorted(zip(apart, [ids[row] for row in found], repeat(place), found, strict=False))


class Snapshot:
    """The parts of an index at one moment; an id is alive in at most one of them."""

    def __init__(self, metric: Metric, parts: Sequence[Part]) -> None:
        """Takes parts that never change."""
        self.metric: Metric = metric
        self.parts = tuple(parts)
        self.count = sum(part.live for part in self.parts)
        self._targets = [_Target(part, part.live, part.admitted) for part in self.parts if part.live]

    def search(self, vectors: Floats, query: Query) -> list[Found]:
        """For each vector the k nearest items that the query admits, ascending, ties by id (V4).

        There are k of them whenever k items are admitted. The vectors have shape (n, dimension) and are
        in the metric's form. Each costs what `cost` says, and with a filter a scan of what passes it.
        """
        targets = self._narrowed(query) if query.narrowed else self._targets
        return [self._search(vector, query, targets) for vector in vectors]

    def _search(self, vector: Floats, query: Query, targets: Sequence[_Target]) -> Found:
        k = limit = query.k + 1  # one more than asked for shows whether a tie is cut
        lists = [target.entries(vector, query, limit, place) for place, target in enumerate(targets)]
        while True:
            ranked = lists[0] if len(lists) == 1 else sorted(chain.from_iterable(lists))
            if len(ranked) < k:
                break
            tied = tie_limit(self.metric, ranked[k - 2][0])
            cut = [place for place, entries in enumerate(lists) if entries[-1][0] <= tied]
            if not cut or all(len(lists[place]) >= targets[place].allowed for place in cut):
                break
            limit *= _WIDER
            for place in cut:
                lists[place] = targets[place].entries(vector, query, limit, place)
        return _best(ranked[: k - 1], targets, with_vectors=query.with_vectors)

    def _narrowed(self, query: Query) -> list[_Target]:
        targets = []
        for part in self.parts:
            admitted = Admitted(part.allowed(query))
            if admitted.count:
                everything = admitted.count == part.count
                targets.append(_Target(part, admitted.count, None if everything else admitted))
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

    def some_vectors(self, places: Rows) -> Floats:
        """Vectors, as they are kept, of items by their number, ascending; none may be as many as there are."""
        vectors: list[Floats] = []
        begin = 0
        for part in self.parts:
            here = places[(places >= begin) & (places < begin + part.live)] - begin
            if len(here):
                vectors.append(part.segment.vectors(part.live_rows()[here]))
            begin += part.live
        return np.concatenate(vectors)

    def page(self, after: str, limit: int, *, with_vectors: bool) -> tuple[Found, bool]:
        """The first `limit` items whose ids come after `after`, and whether more follow.

        The first page after a seal sorts the sealed ids; every page sorts the hot ones.
        """
        merged = sorted((entry for part in self.parts for entry in part.page(after, limit + 1)), key=lambda e: e[0])
        places = [(part, row) for _, part, row in merged[:limit]]
        return _collect(places, with_vectors), len(merged) > limit


def _best(hits: Sequence[_Entry], targets: Sequence[_Target], *, with_vectors: bool) -> Found:
    parts = [target.part for target in targets]
    metadata = [part.segment.metadata for part in parts]
    return Found(
        ids=[item_id for _, item_id, _, _ in hits],
        metadata=[metadata[place][row] for _, _, place, row in hits],
        vectors=_vectors([(parts[place], row) for _, _, place, row in hits]) if with_vectors else None,
        distances=[distance for distance, _, _, _ in hits],
    )


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
