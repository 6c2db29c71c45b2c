"""How the rows of several segments become one index, aside from all searches.

The largest graph among them is copied and added to, so that its rows are linked only once; every
other row is linked anew. Costs some 0.1 ms for each linked row of 256.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from services.vectord.segments.measuring import FEWEST_PROBES, PROBES, needed_candidates
from services.vectord.segments.metric import Floats, Metric, Rows, moved
from services.vectord.segments.native import faiss
from services.vectord.segments.sealed import EXACT, GRAPH_ROWS, SealedSegment
from services.vectord.segments.segment import Segment
from services.vectord.segments.storage import StorageType, flat_index, graph_index, held, within
from services.vectord.tree.items import Norms

_CHUNK_ROWS = 512  # linked at most between two looks at whether to stop
_CHUNK_FLOATS = 1 << 19
_TRAINING_ROWS = 1 << 15  # at most, from which the ranges of int8 are learned
_OUTSIDE = 0.01  # share of components outside the ranges from which a graph is made anew rather than added to


class Stopped(Exception):
    """The build was given up: the daemon stops, or the index is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """How graphs are built and searched."""

    m: int = 16
    """Links of a node."""
    ef_construction: int = 80
    """Candidates looked at when a node is linked."""
    ef_search: int = 0
    """Fewest candidates looked at in a search; as many as each graph was measured to need when 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Rows of a segment that go into a build."""

    segment: Segment
    rows: Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """Everything that a sealed segment's file holds."""

    index: Any
    ef_search: int
    ids: list[str]
    norms: Norms
    metadata: list[bytes]
    sections: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """More sections of the file, by name: see envelope.py."""


def build(
    base: SealedSegment | None,
    sources: Sequence[Source],
    *,
    probes: int,
    dimension: int,
    metric: Metric,
    storage: StorageType = "float32",
    parameters: Parameters,
    stop: Callable[[], bool],
    advance: Callable[[int], None] = lambda _: None,
    graph: bool = True,
) -> Built:
    """One index over all rows of `base`, in their order, and then those of `sources`. Raises Stopped.

    The last `probes` of the sources hold the rows with which the graph is measured. `advance` is told how
    many rows were linked since. Without `graph` the rows are only listed, which takes no time.
    """
    known = [] if base is None else [Source(segment=base, rows=np.arange(base.count))]
    everything = [*known, *sources]
    rows = sum(len(source.rows) for source in everything)
    if base is not None and not _can_grow(base, sources, storage):
        base, sources = None, everything
    work = _Work(storage, stop, advance)
    if graph and (base is not None or rows >= GRAPH_ROWS):
        index, exact = _started(base, sources, dimension, metric, storage, parameters)
        first, last = sources[: len(sources) - probes], sources[len(sources) - probes :]
        if exact is not None and base is not None:
            work.add([exact], everything[:1])
        work.add([index, exact], first)
        # The last rows were drawn from the sources alone.
        linked = everything if not probes else known
        ef_search = _measured(index, exact, last, linked, metric, parameters.ef_search)
        work.add([index, exact], last)
    else:
        index, exact, ef_search = flat_index(dimension, metric, storage), None, 0
        work.add([index], sources)
    return Built(
        index=index,
        ef_search=ef_search,
        ids=[source.segment.ids[row] for source in everything for row in source.rows.tolist()],
        norms=np.concatenate([source.segment.norms(source.rows) for source in everything]),
        metadata=[source.segment.metadata[row] for source in everything for row in source.rows.tolist()],
        sections={} if exact is None else {EXACT: faiss.serialize_index(exact)},
    )


def _can_grow(base: SealedSegment, sources: Sequence[Source], storage: StorageType) -> bool:
    if base.storage != storage:
        return False
    return storage != "int8" or within(_sample(sources), base.ranges()) >= 1 - _OUTSIDE


def _started(
    base: SealedSegment | None,
    sources: Sequence[Source],
    dimension: int,
    metric: Metric,
    storage: StorageType,
    parameters: Parameters,
) -> tuple[Any, Any]:
    """A graph, and a list for the vectors when the graph is over something coarser."""
    exact = flat_index(dimension, metric, storage) if storage == "int8" else None
    if base is not None:
        return base.index_copy(), exact
    index = graph_index(dimension, metric, storage, links=parameters.m)
    index.hnsw.efConstruction = parameters.ef_construction
    if not index.is_trained:
        index.train(_sample(sources))
    return index, exact


def _sample(sources: Sequence[Source]) -> Floats:
    """Some vectors, evenly from all."""
    rows = sum(len(source.rows) for source in sources)
    step = -(-rows // _TRAINING_ROWS) or 1
    return np.concatenate([source.segment.vectors(source.rows[::step]) for source in sources])


class _Work:
    """Adds rows, and lets whoever watches see how far it is."""

    def __init__(self, storage: StorageType, stop: Callable[[], bool], advance: Callable[[int], None]) -> None:
        self._storage: StorageType = storage
        self._stop = stop
        self._advance = advance

    def add(self, indexes: Sequence[Any], sources: Sequence[Source]) -> None:
        """Adds rows to each index that is there. Raises Stopped."""
        present = [index for index in indexes if index is not None]
        chunk = max(1, min(_CHUNK_ROWS, _CHUNK_FLOATS // present[0].d))
        for source in sources:
            for begin in range(0, len(source.rows), chunk):
                if self._stop():
                    raise Stopped
                rows = source.rows[begin : begin + chunk]
                vectors = held(source.segment.vectors(rows), self._storage)
                for index in present:
                    index.add(vectors)
                self._advance(len(rows))


def _measured(
    index: Any,
    exact: Any,
    last: Sequence[Source],
    linked: Sequence[Source],
    metric: Metric,
    least: int,
) -> int:
    """What the graph needs for rows that are not linked yet, and for some of `linked`, which they need not be like.

    Each kind must be found well by itself: rows that were moved a little are found more easily than new ones,
    and would hide how those are.
    """
    fresh = [source.segment.vectors(source.rows) for source in last]
    unseen = sum(len(vectors) for vectors in fresh)
    kinds = [np.concatenate(fresh)] if unseen >= FEWEST_PROBES else []
    if linked and any(len(source.rows) for source in linked):
        # Linked rows find themselves; moved a little they are like others.
        random = np.random.default_rng(index.ntotal)
        kinds.append(moved(random.permutation(_sample(linked))[:PROBES], metric, random))
    needed = [needed_candidates(index, exact, probes, metric, least) for probes in kinds]
    return 0 if 0 in needed else max(needed, default=0)
